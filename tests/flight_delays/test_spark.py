"""The same SQL texts give the same rows on Spark SQL as on DuckDB."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flights import Queries, Raw, exact_rows, run_queries

from tallywright.data.sql import date_parameters, render

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]

FIRST, LAST = date(2013, 3, 9), date(2013, 3, 10)


def _comparable(table: pa.Table, like: pa.Schema) -> list[tuple[object, ...]]:
    """Rows of the wanted types; a timestamp with a zone is UTC."""
    assert table.column_names == like.names
    wanted = [
        field.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(field.type) else field for field in like
    ]
    return sorted(exact_rows(table.cast(pa.schema(wanted)).cast(like)), key=str)


def test_spark_gives_the_same_rows(spark: SparkSession, raw: Raw, queries: Queries, tmp_path: Path) -> None:
    some = raw.around(LAST, before=33)
    broken = some.flights.slice(some.flights.num_rows - 900, 3)
    for column, value in {"carrier": None, "sched_dep_time": "soon"}.items():
        nonsense = pa.array([value] * 3, pa.string())
        more = broken.set_column(broken.column_names.index(column), column, nonsense)
        some = Raw(pa.concat_tables([some.flights, more]), some.weather, some.airports)
    for name in ("flights", "weather", "airports"):
        pq.write_table(getattr(some, name), tmp_path / f"{name}.parquet")
        spark.read.parquet(str(tmp_path / f"{name}.parquet")).createOrReplaceTempView(name)
    expected = run_queries(queries, some, FIRST, LAST)
    parameters = date_parameters(FIRST, LAST, 31)
    contract = spark.sql(render(queries.contract, parameters, "contract")).cache()
    contract.filter("reject_reason IS NULL").drop("reject_reason").createOrReplaceTempView("accepted")
    features = spark.sql(render(queries.features, parameters, "features")).toArrow()
    labels = spark.sql(render(queries.labels, parameters, "labels")).toArrow()
    assert _comparable(contract.toArrow(), expected.contract.schema) == _comparable(
        expected.contract, expected.contract.schema
    )
    assert _comparable(features, expected.features.schema) == _comparable(expected.features, expected.features.schema)
    assert _comparable(labels, expected.labels.schema) == _comparable(expected.labels, expected.labels.schema)
