from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.query import connect, query
from tallywright.errors import UsageError

DAYS = [date(2024, 1, number) for number in (1, 2, 3)]


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path):
    lake = Lake(str(tmp_path / "it's a lake"))
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        lake = Lake(f"{bucket.address}/lake", bucket.options)
    for number, day in enumerate(DAYS):
        data = pa.table(
            {"score_date": pa.array([day] * 2, pa.date32()), "k": [f"k{number}", "k"], "x": [1.0 * number, None],
             "t": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))}
        )  # fmt: skip
        if number == 2:
            data = data.append_column("late", pa.array([1, None], pa.int64()))
        lake.replace("m__days", data, slice={"score_date": day}, partition_by=["score_date"])
    lake.replace("m__small", pa.table({"n": pa.array([1], pa.int32()), "name": ["a"]}), slice={"n": 1})
    return lake


def test_tables_by_name(lake):
    assert query(lake, "SELECT count(*) AS n, sum(x) AS x, sum(late) AS late FROM m__days").to_pylist() == [
        {"n": 6, "x": 3.0, "late": 1}
    ]
    found = query(lake, "SELECT * FROM m__days WHERE score_date = DATE '2024-01-02' ORDER BY k DESC")
    assert found.schema.field("score_date").type == pa.date32()
    assert found.schema.field("t").type == pa.timestamp("us", "UTC")
    assert found["k"].to_pylist() == ["k1", "k"]
    assert query(lake, "SELECT name FROM m__small JOIN m__days ON n = x").num_rows == 1


def test_columns_and_tables_without_files(lake):
    lake.replace("m__days", lake.read("m__days").slice(0, 0), slice={"score_date": DAYS[2]})
    assert query(lake, "SELECT late, t FROM m__days")["late"].null_count == 4
    for day in DAYS:
        lake.replace("m__days", lake.read("m__days").slice(0, 0), slice={"score_date": day})
    empty = query(lake, "SELECT * FROM m__days")
    assert empty.num_rows == 0
    assert empty.schema.field("score_date").type == pa.date32()
    assert sorted(empty.column_names) == ["k", "late", "score_date", "t", "x"]


@pytest.mark.parametrize("sql", ["SELECT * FROM nowhere", "SELEC 1", "SELECT nope FROM m__small"])
def test_a_failing_query_names_the_tables(lake, sql):
    with pytest.raises(UsageError, match="m__days, m__small"):
        query(lake, sql)


@pytest.mark.parametrize("sql", [
    "COPY (SELECT 1) TO '{file}'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'", "ATTACH '{file}'",
    "EXPORT DATABASE '{file}'", "SELECT 1; COPY (SELECT 1) TO '{file}'",
    "WITH c AS (COPY (SELECT 1) TO '{file}') SELECT 1",
    "CREATE TABLE t (a INT)", "DROP VIEW m__small", "SET threads = 1", "SELECT 1; SELECT 2", "", "  ",
    "-- nothing", ";",
])  # fmt: skip
def test_only_one_reading_statement_is_run(lake, tmp_path, sql):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        query(lake, sql.format(file=tmp_path / "file"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistyped_table_is_one_of_the_lake(lake):
    with pytest.raises(UsageError, match=r"fails: there is no table m__smal \(did you mean 'm__small'\?\)"):
        query(lake, "SELECT * FROM m__smal")
    with pytest.raises(UsageError, match="fails: there is no table nope") as caught:
        query(lake, "SELECT * FROM nope")
    assert "pg_" not in caught.value.found


@pytest.mark.parametrize("sql", [
    "FROM read_csv('{file}')", "FROM read_text('{file}')", "FROM '{file}'", "FROM glob('{file}')",
    "FROM read_csv('{lake}/../file.csv')",
])  # fmt: skip
def test_a_query_reads_no_other_file(lake, tmp_path, sql):
    file = tmp_path / "file.csv"
    file.write_text("a\n1\n")
    with pytest.raises(UsageError, match="the query fails"):
        query(lake, sql.format(file=file, lake=lake.root))


def test_a_lake_behind_a_link(tmp_path):
    lake = Lake(str(tmp_path / "real"))
    lake.replace("m__small", pa.table({"n": [1]}), slice={"n": 1})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert query(Lake(str(tmp_path / "link")), "FROM m__small").num_rows == 1


@pytest.mark.parametrize("sql", [
    "FROM m__small", "VALUES (1)", "SHOW TABLES", "DESCRIBE m__days", "SUMMARIZE m__small", "SELECT 1;",
    "WITH few AS (FROM m__days LIMIT 2) SELECT count(*) FROM few", "PIVOT m__days ON k USING sum(x)",
    "EXPLAIN FROM m__small",
])  # fmt: skip
def test_every_form_of_reading_is_answered(lake, sql):
    assert query(lake, sql).num_rows > 0


def test_columns_of_one_name_are_all_kept(lake):
    assert query(lake, "select 1 as a, 2 as a, 3 as a_1, 4 as a").to_pylist() == [
        {"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}
    ]


def test_an_empty_lake(tmp_path):
    assert query(Lake(str(tmp_path / "none")), "SELECT 1 AS one").to_pylist() == [{"one": 1}]
    with connect(Lake(str(tmp_path / "none"))) as connection:
        assert connection.execute("SHOW TABLES").fetchall() == []
