"""Conditions of expectations: a small grammar, checked against columns and types; nothing of it is executed."""

from __future__ import annotations

import datetime as dt
import operator
import re
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.expectations.conditions import parse_condition

AT = pa.timestamp("us", "UTC")
TABLE = pa.table(
    {
        "region": pa.array(["north", "south", None, "it's"]),
        "weight": pa.array([1.5, None, float("nan"), 4.0]),
        "parcels": pa.array([1, 2, None, 4], pa.int8()),
        "price": pa.array([Decimal("1.10"), None, Decimal("2.50"), Decimal("4.00")], pa.decimal128(6, 2)),
        "vip": pa.array([True, False, None, True]),
        "day": pa.array([dt.date(2025, 1, day) for day in (1, 2, 3)] + [None]),
        "at": pa.array([dt.datetime(2025, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3)] + [None], AT),
        "in": pa.array([1, 2, 3, 4]),
    }
)  # fmt: skip
COLUMNS = {field.name: field.type for field in TABLE.schema}
ROWS = TABLE.to_pylist()


def held(text: str) -> list[int]:
    mask = parse_condition(text, COLUMNS).holds(TABLE).to_pylist()
    return [place for place, holds in enumerate(mask) if holds]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('region == "north"', [0]),
        ("region=='north'", [0]),
        ("region != 'north'", [1, 2, 3]),
        ("region <> 'north' and region is not null", [1, 3]),
        ('region == "it\'s"', [3]),
        ("region in ['north', 'south']", [0, 1]),
        ("region not in ('north', 'south')", [2, 3]),
        ("not region in ['north']", [1, 2, 3]),
        ("region is null", [2]),
        ("region.isnull() or parcels.notna() & weight > 2", [2, 3]),
        ('col("region") == "north" | col("vip") == False', [0, 1]),
        ("weight is null", [1, 2]),
        ("weight > 1.4", [0, 3]),
        ("weight >= -2 and weight < 4", [0]),
        ("weight == price", [3]),
        ("parcels < 2.5", [0, 1]),
        ("parcels <= `in`", [0, 1, 3]),
        ("`in` in [2, 3]", [1, 2]),
        ("price == 1.1", [0]),
        ("price > 1.1", [2, 3]),
        ("price in [2.5, 4]", [2, 3]),
        ("vip == true", [0, 3]),
        ("vip != True", [1, 2]),
        ("~(vip == true) and not vip is null", [1]),
        ("day >= '2025-01-02'", [1, 2]),
        ("at > '2025-01-01'", [0, 1, 2]),
        ("at > '2025-01-01T13:00:00+02:00'", [0, 1, 2]),
        ("at <= '2025-01-01T12:00:00Z'", [0]),
        ("(region == 'north' or region == 'south') and (weight is null)", [1]),
        ("region == 'north' or region == 'south' and weight > 100", [0]),
    ],
)
def test_rows_that_meet_a_condition(text, rows):
    assert held(text) == rows
    assert parse_condition(text, COLUMNS).rows(TABLE).num_rows == len(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found the end where a column is needed"),
        ("@pd.io.common.os.system('touch pwned') == 0", "cannot stand in a condition"),
        ("__import__('os').system('touch pwned') == 0", "cannot stand in a condition"),
        ("region.str.contains('x')", "cannot stand in a condition"),
        ("region == north", "there is no column 'north'"),
        ("regoin == 'north'", "there is no column 'regoin' (did you mean 'region'?)"),
        ("region == 5", "region is VARCHAR: quote it"),
        ("region == true", "region is VARCHAR"),
        ("weight > 'a'", "take the quotes off"),
        ("weight > region", "weight is DOUBLE, region is VARCHAR"),
        ("parcels > 1000", "parcels is TINYINT"),
        ("parcels == 1.5", "a whole number is needed"),
        ("price == 1.001", "at most 2 decimals"),
        ("vip > true", "compare it by == or !="),
        ("vip", "found the end where =="),
        ("day == 'soon'", "write a date such as 2025-01-31"),
        ("at > 5", "it is UTC unless it has a zone"),
        ("region == null", "write region is null"),
        ("region == 'a' region == 'b'", "region is too much"),
        ("region == 'a' and", "found the end where a column is needed"),
        ("(region == 'a'", "found the end where ) is needed"),
        ("region in []", "found ] where"),
        ("region is 'a'", "where null is needed"),
        ("1 < weight", "found 1 where a column is needed"),
        ("0 < weight < 5", "found 0 where a column is needed"),
        ("weight > 1e999", "a finite number is needed"),
        ("weight > 1; drop table x", "cannot stand in a condition"),
        ("(" * 40 + "vip == true" + ")" * 40, "nested at most 30 deep"),
        ("not " * 40 + "vip == true", "nested at most 30 deep"),
        ("vip == true or " * 200 + "vip == true", "at most 2,000 characters"),
        ("region == 'a\x00' \x00", "cannot stand in a condition"),
    ],
)
def test_what_is_no_condition_is_refused(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_condition(text, COLUMNS)


SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LITERALS = {
    "weight": ["1.5", "-2", "4"],
    "parcels": ["1", "2.5", "-100"],
    "region": ["'north'", "'zz'"],
    "price": ["1.1", "3"],
}


def _missing(value: object) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _compared(column: str, sign: str, literal: str) -> tuple[str, list[bool]]:
    value = literal.strip("'") if column == "region" else Decimal(literal) if column == "price" else float(literal)
    found = [sign == "!=" if _missing(row[column]) else SIGNS[sign](row[column], value) for row in ROWS]
    return f"{column} {sign} {literal}", found


comparisons = st.sampled_from(sorted(LITERALS)).flatmap(
    lambda column: st.builds(
        _compared,
        st.just(column),
        st.sampled_from([sign for sign in SIGNS if column != "parcels" or sign not in ("==", "!=")]),
        st.sampled_from(LITERALS[column]),
    )
)
nulls = st.sampled_from(sorted(LITERALS)).map(
    lambda column: (f"{column} is null", [_missing(row[column]) for row in ROWS])
)


def _joined(word: str, both: tuple[tuple[str, list[bool]], tuple[str, list[bool]]]) -> tuple[str, list[bool]]:
    (one, first), (other, second) = both
    combined = all if word == "and" else any
    return f"({one}) {word} ({other})", [combined(pair) for pair in zip(first, second, strict=True)]


conditions = st.recursive(
    comparisons | nulls,
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", [not holds for holds in one[1]])),
        st.builds(_joined, st.sampled_from(["and", "or"]), st.tuples(inner, inner)),
    ),
    max_leaves=8,
)


@given(conditions)
def test_a_condition_means_what_it_says(condition):
    text, expected = condition
    assert parse_condition(text, COLUMNS).holds(TABLE).to_pylist() == expected


WORDS = [
    *COLUMNS, "(", ")", "[", "]", ",", "==", "!=", "<", "~", "&", "and", "or", "not", "is", "null", "in", "true",
    "lambda", ".", ":", "@pd", "__class__", "col(", "`in`", ".isnull()", "'x'", '"', "1.5", "-1", "\\", "\n", "💥",
]  # fmt: skip


@given(
    st.lists(
        st.sampled_from(WORDS),
        max_size=12,
    )
)  # fmt: skip
def test_whatever_is_written_it_is_a_condition_or_refused(words):
    try:
        condition = parse_condition(" ".join(words), COLUMNS)
    except ValueError:
        return
    assert condition.holds(TABLE).null_count == 0
