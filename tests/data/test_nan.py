"""NaN in Parquet files, whose statistics leave it out: every query gives the rows that a scan without them gives."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tallywright
from tallywright.data.delta.lake import Lake
from tallywright.data.embedded_sql import connect, parquet_rows
from tallywright.data.etl.ingest import ingest
from tallywright.data.query import query
from tallywright.errors import SpecError, UsageError

if TYPE_CHECKING:
    import duckdb

DAY = date(2024, 1, 1)
CONTRACT = """
SELECT CAST(o.day AS DATE) AS score_date,
       CASE WHEN isnan(amount) THEN 'is NaN' WHEN amount > 100 THEN 'above' END AS reject_reason,
       o.id, o.kind, o.amount, o.outcome, o.known_at
FROM orders o WHERE CAST(o.day AS DATE) BETWEEN :lookback_date AND :to_date
"""
QUERIES = (
    "SELECT count(*) FROM t WHERE isnan(x)",
    "SELECT count(*) FROM t WHERE NOT isfinite(x)",
    "SELECT count(*) FROM t WHERE x > 5",
    "SELECT count(*) FROM t WHERE NOT (x <= 5)",
    "SELECT count(*) FROM t WHERE x = 'nan'::DOUBLE",
    "SELECT count(*) FROM t WHERE x < 'nan'::DOUBLE",
    "SELECT count(*) FROM t WHERE x IN ('nan'::DOUBLE, 1.5)",
    "SELECT count(*) FROM t WHERE x >= 5 OR x IS NULL",
    "SELECT count(*) FROM t WHERE x BETWEEN -1 AND 1",
    "SELECT count(*) FROM t WHERE x <> 1.5",
    "SELECT count(*) FROM t WHERE abs(x) > 5",
    "SELECT count(*) FROM t WHERE CAST(x AS FLOAT) + 1 > 6",
    "SELECT count(CASE WHEN isnan(x) THEN 1 WHEN x > 5 THEN 2 END) FROM t",
    "SELECT count(*) FILTER (x > 5) FROM t",
    "SELECT count(nullif(x, 'nan'::DOUBLE)) FROM t",
    "SELECT x > 5 AS c, count(*) FROM t GROUP BY ALL ORDER BY ALL",
    "SELECT max(x), min(x), max(x) > 5, max(k) FROM t",
    "SELECT max(x) FROM t",
    "SELECT min(x) FROM t WHERE x > 0",
    "SELECT k % 3 AS g FROM t GROUP BY g HAVING max(x) > 5 ORDER BY g",
    "SELECT x FROM t ORDER BY x DESC NULLS LAST LIMIT 2",
    "SELECT x FROM t ORDER BY x LIMIT 2",
    "SELECT count(*) FROM t a JOIN t b ON a.x = b.x WHERE b.x > 1",
    "SELECT count(*) FROM t a JOIN (SELECT max(x) AS m FROM t) b ON a.x = b.m",
    "SELECT count(*) FROM t a LEFT JOIN (SELECT * FROM t WHERE x > 5) b USING (k) WHERE b.k IS NULL",
)


def answers(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """What each query answers; of two zeros either may come first."""
    return {sql: str(connection.execute(sql).fetchall()).replace("-0.0", "0.0") for sql in QUERIES}


numbers = st.none() | st.sampled_from([math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, 5.0, 7.0, -3.0])


@given(
    values=st.lists(numbers, min_size=1, max_size=12),
    kind=st.sampled_from([pa.float64(), pa.float32()]),
    files=st.integers(1, 3),
    rows=st.integers(1, 12),
)
@settings(max_examples=25, deadline=None)
def test_rows_of_files_are_those_of_a_table(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], kind: pa.DataType, files: int, rows: int
) -> None:
    """Whatever lies in which row group of which file."""
    folder = tmp_path_factory.mktemp("files")
    data = pa.table({"k": np.arange(len(values)), "x": pa.array(values, kind)})
    size = -(-len(values) // files)
    paths = [str(folder / f"{place}.parquet") for place in range(0, len(values), size)]
    for path, place in zip(paths, range(0, len(values), size), strict=True):
        pq.write_table(data.slice(place, size), path, row_group_size=rows)
    with connect() as plain, connect() as scanned:
        plain.register("given", data)
        plain.execute("CREATE TABLE t AS FROM given")
        scanned.execute(f"CREATE VIEW t AS FROM {parquet_rows(paths)}")
        assert answers(scanned) == answers(plain)


@pytest.mark.parametrize(
    ("below", "partitions"),
    [
        ("lake", ["score_date"]),
        ("k=other/lake", ["score_date"]),
        pytest.param("lake", [], marks=pytest.mark.long),
        pytest.param("k=other/lake", [], marks=pytest.mark.long),
    ],
)
def test_a_query_over_the_lake_finds_nan(tmp_path: Path, below: str, partitions: list[str]) -> None:
    """By DuckDB's own reader and by Arrow's, which reads below folders that are named like keys."""
    lake = Lake(str(tmp_path / below))
    values = np.where(np.arange(1000) % 100, np.arange(1000) / 1000, np.nan)
    data = pa.table({"score_date": pa.array([DAY] * 1000, pa.date32()), "k": np.arange(1000), "x": values})
    lake.replace("t", data, slice={"score_date": DAY}, partition_by=partitions)
    with connect() as plain:
        plain.register("given", data)
        plain.execute("CREATE TABLE t AS FROM given")
        expected = answers(plain)
    found = {sql: str([tuple(row.values()) for row in query(lake, sql).to_pylist()]) for sql in QUERIES}
    assert found == expected
    assert query(lake, "FROM (PIVOT (FROM t WHERE x > 5) ON score_date USING count(*))").num_rows == 10


@pytest.mark.parametrize("text", ["read_parquet('{file}')", "parquet_scan('{file}')", "'{file}'"])
def test_no_text_reads_a_file_past_its_table(tmp_path: Path, shop: Any, text: str) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.replace("t", pa.table({"k": ["a", "a"], "x": [1.0, math.nan]}), slice={"k": "a"})
    [file] = (tmp_path / "lake").rglob("*.parquet")
    with pytest.raises(UsageError, match="reads a file by its path"):
        query(lake, f"SELECT count(*) FROM t, {text.format(file=file)} f WHERE f.x > 5")
    raw = shop.folder / "raw.parquet"
    pq.write_table(shop.table(), raw)
    shop.data["sources"] = {"orders": {"path": "raw.parquet", "format": "parquet"}}
    shop.contract = CONTRACT.replace("orders o", f"{text.format(file=raw)} o")
    with pytest.raises(SpecError, match="reads something else than the sources"):
        ingest(shop.project(), shop.lake, DAY, DAY)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_with_nan_become_of_what_the_contract_says(shop: Any, kind: str) -> None:
    shop.contract = CONTRACT
    shop.lines = [shop.order(n, str(DAY), amount="nan" if n % 5 == 0 else n) for n in range(20)]
    if kind == "parquet":
        pq.write_table(shop.table(), shop.folder / "raw.parquet")
        shop.data["sources"] = {"orders": {"path": "raw.parquet", "format": "parquet"}}
    [day] = ingest(shop.project(), shop.lake, DAY, DAY)
    assert (day.rows, day.quarantined) == (16, 4)
    assert {row["reason"] for row in shop.lake.read("shop__quarantine").to_pylist()} == {"is NaN"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("condition", "rows"), [("isnan(amount)", 4), ("amount > 100", 4), ("NOT isnan(amount)", 16), ("amount <= 100", 16)]
)
def test_rows_with_nan_are_selected_by_a_condition(shop: Any, kind: str, condition: str, rows: int) -> None:
    shop.contract = f"{CONTRACT} AND {condition}".replace("CASE", "CASE WHEN true THEN NULL")
    shop.lines = [shop.order(n, str(DAY), amount="nan" if n % 5 == 0 else n) for n in range(20)]
    if kind == "parquet":
        pq.write_table(shop.table(), shop.folder / "raw.parquet")
        shop.data["sources"] = {"orders": {"path": "raw.parquet", "format": "parquet"}}
    [day] = ingest(shop.project(), shop.lake, DAY, DAY)
    assert (day.rows, day.quarantined) == (rows, 0)
    table = f"(SELECT * FROM shop__features WHERE {condition})"
    assert query(shop.lake, f"SELECT count(*) AS n FROM {table}").to_pylist() == [{"n": rows}]


def test_one_function_writes_how_parquet_is_read() -> None:
    root = Path(tallywright.__file__).parent
    for word in ("read_parquet(", "parquet_scan(", "duckdb.connect("):
        found = {str(file.relative_to(root)) for file in root.rglob("*.py") if word in file.read_text(encoding="utf-8")}
        assert found <= {"data/embedded_sql.py"}, word
