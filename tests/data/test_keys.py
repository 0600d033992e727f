"""Every key has a text, and the text gives the key back."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallywright.data.keys import key_text, readings, value_text

TEXTS = (
    st.text(max_size=12)
    | st.text("%/2Fa =,-\n\u202e ", max_size=8)
    | st.sampled_from(["", " ", "a" * 1000, "\ud800", "--json", "-h"])
)


@given(st.lists(TEXTS, min_size=1, max_size=3))
@example(["%2F", "/", "%"])
@example(["a/b"])
@example([" "])
def test_the_surest_reading_of_a_text_is_its_key(values: list[str]) -> None:
    text = key_text(values)
    assert next(readings(text, [f"k{number}" for number in range(len(values))])) == tuple(values)
    assert text.isprintable()
    assert text == text.strip()
    assert not text.startswith("-")


@given(st.lists(TEXTS, min_size=1, max_size=3), st.sampled_from([" ", ", "]))
def test_a_key_may_be_given_by_names(values: list[str], between: str) -> None:
    names = [f"k{number}" for number in range(len(values))]
    for written in (values, [value_text(value, joined=True) for value in values]):
        if any("=" in value or between in value for value in written):
            continue  # then the escaped form is needed
        named = between.join(f"{name}={value}" for name, value in zip(names, written, strict=True))
        assert tuple(values) in [*readings(named, names)]


def test_an_unescaped_text_has_every_meaning_that_it_may_have() -> None:
    assert [*readings("A/A/o1", ["region", "order"])] == [("A", "A/o1"), ("A/A", "o1")]
    assert [*readings("50%", ["share"])] == [("50%",), ("50%",)]
    assert [*readings("a", ["region", "order"])] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9007199254740993, "9007199254740993"), (-8, "-8"), (True, "true"), (0.1, "0.1"),
        (date(2025, 4, 3), "2025-04-03"),
        (datetime(2025, 4, 3, 4, 0, 0, 7, tzinfo=UTC), "2025-04-03T04:00:00.000007+00:00"), ("A/A", "A/A"),
        ("50%", "50%25"), (" a b ", "%20a b%20"), ("a\nb", "a%0Ab"), ("-h", "%2Dh"), ("שלום", "שלום"), ("", ""),
    ],
)  # fmt: skip
def test_values_are_written_as_in_sql_or_json(value: object, text: str) -> None:
    assert value_text(value, joined=False) == text


def test_a_slash_is_escaped_where_values_are_joined() -> None:
    assert key_text(["A/A", 7]) == "A%2FA/7"
