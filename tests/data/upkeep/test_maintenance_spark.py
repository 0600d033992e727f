"""Spark reads what maintenance has left, and maintenance goes on after Spark has written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.upkeep.maintenance import TableRules, maintain_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.slow]

DAY = date(2024, 1, 1)
NOW = datetime.now(UTC)
RULES = TableRules(NOW + timedelta(days=1), timedelta(days=60), timedelta(days=7), min_files=2, keep={}, long_log=True)


def seen(spark: SparkSession, lake: Lake) -> list[tuple]:
    rows = spark.read.format("delta").load(lake.uri("t")).select("score_date", "k", "x").collect()
    return sorted(tuple(row) for row in rows)


@pytest.mark.long
def test_spark_and_maintenance_take_turns(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(f"{tmp_path}/lake")
    for number in range(3):
        data = pa.table({"score_date": [DAY], "k": [f"a{number}"], "x": [number / 3]})
        lake.replace("t", data, slice={"k": f"a{number}"}, partition_by=["score_date"])
    before = seen(spark, lake)
    assert maintain_table(lake, "t", RULES).compacted == 3
    assert seen(spark, lake) == before == [(DAY, f"a{number}", number / 3) for number in range(3)]

    other = DAY + timedelta(days=1)
    frame = spark.createDataFrame([(other, "b", 1.0), (other, "c", 2.0)], "score_date date, k string, x double")
    for _ in range(12):  # more than Spark's interval of checkpoints, so that it cleans the log up with our settings
        frame.repartitionByRange(2, "k").write.format("delta").mode("overwrite").option(
            "replaceWhere", f"score_date = '{other}'"
        ).save(lake.uri("t"))
    assert len(lake.files("t", day=other)) == 2
    with_spark = seen(spark, lake)
    report = maintain_table(lake, "t", replace(RULES, retention=timedelta(0), keep={3: frozenset({"tally"})}))
    assert (report.compacted, report.lost) == (2, "")
    assert report.deleted > 20
    assert seen(spark, lake) == with_spark
    assert sorted(lake.read("t", version=3)["k"].to_pylist()) == ["a0", "a1", "a2"]
