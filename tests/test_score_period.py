"""An hour is its date, and refuses what is right for a date alone."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tallywright.data.delta.rows import rows_of, table_of
from tallywright.records import InputVersion
from tallywright.score_period import (
    Hour,
    columns_of,
    compact,
    date_of,
    partition_folder,
    partition_values,
    period_of,
    period_of_path,
    table_of_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = date(2025, 10, 26)
FIRST, SECOND = (Hour(DAY, datetime(2025, 10, 26, hour, tzinfo=UTC)) for hour in (0, 1))


def test_hours_are_ordered_by_their_instants() -> None:
    assert FIRST < SECOND
    assert max([FIRST, SECOND, FIRST]) is SECOND
    assert {FIRST, SECOND, Hour(DAY, FIRST.instant)} == {FIRST, SECOND}
    assert (str(FIRST), f"{SECOND}", FIRST.isoformat()) == (
        "2025-10-26T00:00Z",
        "2025-10-26T01:00Z",
        "2025-10-26T00:00Z",
    )
    assert isinstance(FIRST, date)
    assert date_of(FIRST) == date_of(DAY) == DAY
    assert FIRST != DAY
    assert DAY != FIRST


@pytest.mark.parametrize(
    "wrong",
    [lambda: FIRST < DAY, lambda: DAY <= FIRST, lambda: FIRST > DAY, lambda: FIRST - timedelta(days=1),
     lambda: FIRST + timedelta(days=1), lambda: SECOND - FIRST, lambda: DAY - FIRST, lambda: sorted([FIRST, DAY])],
)  # fmt: skip
def test_what_is_right_for_dates_alone_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"ask the calendar|compare its date"):
        wrong()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda hour: pickle.loads(pickle.dumps(hour))])  # noqa: S301 - ours
def test_a_copy_is_the_same_hour(copied: Callable[[Hour], Hour]) -> None:
    found = copied(FIRST)
    assert found == FIRST
    assert (type(found), date_of(found)) == (Hour, DAY)


@pytest.mark.parametrize("period", [DAY, FIRST, SECOND])
def test_a_period_comes_back_from_columns_paths_and_json(period: date) -> None:
    assert period_of(columns_of({"score_date": period, "role": "champion"})) == period
    assert period_of_path(f"{partition_folder(period)}/part-1.parquet") == period
    schema = pa.schema([("score_date", pa.date32()), ("score_hour", pa.timestamp("us", "UTC")), ("rows", pa.int64())])
    assert rows_of(table_of([{"score_date": period, "rows": 3}], schema)) == [{"score_date": period, "rows": 3}]
    record = InputVersion(table="t", score_date=period, version=1, fingerprint="f", rows=2)
    assert InputVersion.from_json(record.to_json()) == record
    assert set(partition_folder(period)) <= set("abcdefghijklmnopqrstuvwxyz_=/-0123456789TZ")
    assert compact(period).isalnum()


def test_the_folder_that_spark_names_is_read_too() -> None:
    path = "score_date=2025-10-26/score_hour=2025-10-26%252001%253A00%253A00/part-0.parquet"
    assert period_of_path(path) == period_of_path(path.replace("%25", "%")) == SECOND
    assert period_of_path("part-0.parquet") is None


@pytest.mark.parametrize("period", [DAY, FIRST])
def test_a_files_address_is_its_tables_and_its_path(period: date) -> None:
    inside = f"{partition_folder(period)}/part-1.parquet"
    assert table_of_path(f"s3://bucket/lake/shop__scores/{inside}") == ("s3://bucket/lake/shop__scores", inside)


def test_the_log_says_an_instant_with_its_zone() -> None:
    assert partition_values(SECOND) == {"score_date": "2025-10-26", "score_hour": "2025-10-26T01:00:00.000000Z"}
    assert partition_values(DAY) == {"score_date": "2025-10-26"}
