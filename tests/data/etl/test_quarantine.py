from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

from tallywright.data.etl.transform import quarantine_rows

DAY = date(2024, 1, 1)


def rejected(**columns):
    rows = len(next(iter(columns.values())))
    dated = {"score_date": pa.array([DAY] * rows), "reject_reason": pa.array(["bad"] * rows)}
    return pa.table(dated | columns)


def test_a_row_is_json_with_the_columns_in_their_order():
    [row] = quarantine_rows(
        rejected(
            z=pa.array(['say "no"\n']), a=pa.array([None], pa.int32()), exact=pa.array([Decimal("1.50")]),
            number=pa.array([0.1]), at=pa.array([datetime(2024, 1, 1, 18)]), flag=pa.array([True]),  # noqa: DTZ001
        )
    ).to_pylist()  # fmt: skip
    assert row["reason"] == "bad"
    assert row["raw_row"] == (
        '{"score_date":"2024-01-01","reject_reason":"bad","z":"say \\"no\\"\\n","a":null,"exact":1.5,"number":0.1,'
        '"at":"2024-01-01 18:00:00","flag":true}'
    )
    assert json.loads(row["raw_row"])["z"] == 'say "no"\n'


def test_widths_of_integers_make_no_difference():
    narrow, wide = rejected(n=pa.array([7], pa.int8())), rejected(n=pa.array([7], pa.int64()))
    assert quarantine_rows(narrow).equals(quarantine_rows(wide))


def test_rows_are_sorted_and_none_is_fine():
    texts = pa.array(["b", None, "a"])
    assert quarantine_rows(rejected(t=texts)).equals(quarantine_rows(rejected(t=texts.take([2, 0, 1]))))
    assert quarantine_rows(rejected(t=texts).slice(0, 0)).schema == quarantine_rows(rejected(t=texts)).schema
