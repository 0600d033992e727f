"""Instants of a day: finite, in order, and within the day; what is not is refused before anything is written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.etl.day_checks import check_instants
from tallywright.data.etl.ingest import ingest
from tallywright.data.etl.labels import refresh_labels
from tallywright.errors import InputError

DAY = date(2024, 1, 3)
MOMENT = "CAST(score_date AS TIMESTAMP) AS score_moment"
KNOWN_AT = "CAST(known_at AS TIMESTAMP) AS label_time"


def refused(shop, message: str) -> None:
    """The day is refused with this message, and no table is changed or made."""
    before = {table: shop.lake.open(table).version() for table in shop.lake.tables()}
    with pytest.raises(InputError, match=message):
        ingest(shop.project(), shop.lake, DAY, DAY)
    assert {table: shop.lake.open(table).version() for table in shop.lake.tables()} == before


def test_a_label_known_before_it_was_asked_for(shop) -> None:
    assert KNOWN_AT in shop.labels
    shop.lines = [line.replace(",1,2024-01-03", ",NA,2024-01-03") for line in shop.lines]
    ingest(shop.project(), shop.lake, DAY, DAY)
    shop.labels = shop.labels.replace(KNOWN_AT, "CAST(score_date AS TIMESTAMP) - INTERVAL 1 DAY AS label_time")
    refused(
        shop, r"shop__labels of 2024-01-03: 5 rows with a label_time before their score_moment, such as id=o20; id=o22"
    )


def test_the_very_moment_is_not_before(shop) -> None:
    shop.labels = shop.labels.replace(KNOWN_AT, "CAST(score_date AS TIMESTAMP) AS label_time")
    assert ingest(shop.project(), shop.lake, DAY, DAY)[0].labels == 10


def test_younger_labels_are_held_to_the_same_order(shop, heard) -> None:
    shop.data = {"label_maturity_days": 3}
    ingest(shop.project(), shop.lake, DAY, DAY)
    shop.labels = shop.labels.replace(KNOWN_AT, "CAST(score_date AS TIMESTAMP) - INTERVAL 1 DAY AS label_time")
    before, after = shop.lake.open("shop__labels").version(), DAY + timedelta(days=1)
    refresh_labels(shop.project(), shop.lake, after, after)
    assert shop.lake.open("shop__labels").version() == before
    assert "10 rows with a label_time before their score_moment" in heard.text


@pytest.mark.parametrize(
    ("moment", "ahead", "fits"),
    [
        # The third of January in New York is from 05:00 to 05:00 UTC.
        ("2024-01-04 05:00:00", None, True), ("2024-01-04 05:00:00.000001", None, False),
        ("2024-01-02 05:00:00", None, True), ("2024-01-02 04:59:59.999999", None, False),
        ("2024-01-02 04:59:59", "36 hours", True), ("2024-01-01 17:00:00", "36 hours", True),
        ("2024-01-01 16:59:59", "36 hours", False), ("2024-01-03 05:00:00", "0 days", True),
        ("2024-01-03 04:59:59", "0 days", False), ("2024-04-12 00:00:00", "30 days", False),
        ("2023-12-31 05:00:00", 3, True), ("2024-01-03 04:30:00", "90 minutes", True),
    ],
)  # fmt: skip
def test_a_score_moment_lies_in_its_day(shop, moment: str, ahead: object, *, fits: bool) -> None:
    assert MOMENT in shop.features
    shop.features = shop.features.replace(MOMENT, f"TIMESTAMP '{moment}' AS score_moment")
    shop.labels = shop.labels.replace(KNOWN_AT, "TIMESTAMP '2024-06-01' AS label_time")
    if ahead is not None:
        shop.data = {"score_ahead": ahead}
    if fits:
        assert ingest(shop.project(), shop.lake, DAY, DAY)[0].rows == 10
    else:
        refused(
            shop, "shop__features of 2024-01-03: 10 rows whose score_moment lies outside of their day, such as id=o20"
        )


@pytest.mark.parametrize("text", ["yes", "1 week", "-1 day", "", "nan days", True, "1e3 days"])
def test_a_span_that_is_none_is_refused(shop, text: object) -> None:
    shop.data = {"score_ahead": text}
    with pytest.raises(ValueError, match="score_ahead"):
        shop.project()


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0001-01-01 (BC) 00:00:00", "10000-01-01", "290000-01-01"])
@pytest.mark.parametrize(("query", "old", "new", "found"), [
    ("features", MOMENT, "TIMESTAMP '{}' AS score_moment", "score_moment"),
    ("features", MOMENT, "TIMESTAMPTZ '{}' AS score_moment", "score_moment"),
    ("labels", KNOWN_AT, "TIMESTAMP '{}' AS label_time", "label_time"),
])  # fmt: skip
def test_an_instant_that_not_every_reader_has(shop, value, query, old, new, found) -> None:
    text = getattr(shop, query)
    assert old in text
    setattr(shop, query, text.replace(old, new.format(value)))
    refused(
        shop, rf"{query} of 2024-01-03: 10 rows whose {found} is infinite or not of the years 1 to 9999, such as id"
    )


def test_a_date_that_not_every_reader_has(shop) -> None:
    shop.data = {"columns": dict(shop.spec().data.columns) | {"due": "DATE"}, "sparse_columns": ["due"]}
    shop.features = shop.features.replace("amount\n", "amount, CASE WHEN id = 'o23' THEN DATE 'infinity' END AS due\n")
    refused(shop, "1 rows whose due is infinite or not of the years 1 to 9999, such as id=o23")


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
END = int((datetime(9999, 12, 31, tzinfo=UTC) - EPOCH).total_seconds()) + 86_400


@given(
    unit=st.sampled_from([*UNITS]),
    numbers=st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.none() | st.sampled_from([0, 2**63 - 1, 1 - 2**63])
        | st.integers(FIRST - 2, FIRST + 2) | st.integers(END - 2, END + 2), min_size=1, max_size=6,
    ),
)  # fmt: skip
def test_exactly_the_instants_of_the_years_1_to_9999_pass(unit: str, numbers: list[int | None]) -> None:
    column = pa.array(numbers, pa.int64()).cast(pa.timestamp(unit))
    rows = pa.table({"k": [str(place) for place in range(len(numbers))], "t": column})
    infinite = {2**63 - 1, 1 - 2**63}
    fits = all(
        number is None or (FIRST * UNITS[unit] <= number < END * UNITS[unit] and number not in infinite)
        for number in numbers
    )
    if fits:
        check_instants(rows, ["k"], "rows")
    else:
        with pytest.raises(InputError, match="whose t is infinite or not of the years 1 to 9999"):
            check_instants(rows, ["k"], "rows")


@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.none() | st.integers(-719_165, -719_160), min_size=1, max_size=6))
def test_exactly_the_dates_of_the_years_1_to_9999_pass(numbers: list[int | None]) -> None:
    rows = pa.table({"k": [str(place) for place in range(len(numbers))], "d": pa.array(numbers, pa.date32())})
    first, last = (
        date.min.toordinal() - date(1970, 1, 1).toordinal(),
        date.max.toordinal() - date(1970, 1, 1).toordinal(),
    )
    if all(number is None or first <= number <= last for number in numbers):
        check_instants(rows, ["k"], "rows")
    else:
        with pytest.raises(InputError, match="whose d is infinite"):
            check_instants(rows, ["k"], "rows")
