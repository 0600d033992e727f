from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.etl.transform import read_query, render
from tallywright.errors import SpecError

PARAMETERS = {"from_date": date(2024, 1, 5), "to_date": date(2024, 1, 6), "lookback_date": date(2024, 1, 2)}


def test_dates_go_in_as_typed_literals():
    rendered = render("SELECT * FROM t WHERE d BETWEEN :lookback_date AND :to_date", PARAMETERS, "f.sql")
    assert rendered == "SELECT * FROM t WHERE d BETWEEN DATE '2024-01-02' AND DATE '2024-01-06'"


@pytest.mark.parametrize(
    "opaque",
    ["':from_date'", '":from_date"', "`:from_date`", "-- :from_date; DROP\n", "/* :nothing; */", "x::DATE", "';'"],
)
def test_texts_names_comments_and_casts_stay_as_they_are(opaque):
    text = f"SELECT {opaque}\n1 FROM t"
    assert render(text, PARAMETERS, "f.sql") == text


def test_one_semicolon_may_end_it():
    assert render("-- a; b\nselect 1; -- end", PARAMETERS, "f.sql") == "-- a; b\nselect 1 -- end"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT :today", "unknown parameter :today"),
        ("SELECT 1; DROP TABLE x", "more than one statement"),
        ("DELETE FROM x", "not a query"),
        ("", "not a query"),
        ("-- only a comment", "not a query"),
        ("/* SELECT */ COPY t TO 'x'", "not a query"),
    ],
)
def test_refuses_what_is_no_plain_query(text, message):
    with pytest.raises(SpecError, match=message):
        render(text, PARAMETERS, "f.sql")


@pytest.mark.parametrize("value", ["2024-01-01' OR 1=1 --", datetime(2024, 1, 1), 20240101, None])  # noqa: DTZ001
def test_refuses_parameters_that_are_no_dates(value):
    with pytest.raises(SpecError, match="expected: a date"):
        render("SELECT :from_date", {"from_date": value}, "f.sql")


@given(st.text(alphabet="':\"`-/*;\n from_date", max_size=40))
def test_never_fails_otherwise(text):
    with suppress(SpecError):
        render("SELECT " + text, PARAMETERS, "f.sql")


def test_a_missing_file(tmp_path):
    with pytest.raises(SpecError, match=r"features\.sql"):
        read_query(tmp_path / "features.sql", PARAMETERS)
