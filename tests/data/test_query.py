from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tallywright.data.delta.lake import Lake
from tallywright.data.query import _Reading, connect, query
from tallywright.errors import IntegrityError, TableContractError, UsageError

DAYS = [date(2024, 1, number) for number in (1, 2, 3)]


@pytest.fixture(params=["local", "keys", "s3"])
def lake(request, tmp_path):
    named = {"keys": "k=other/score_date=2020-01-01/name=b"}  # folders that say nothing of the tables below them
    lake = Lake(str(tmp_path / named.get(request.param, "it's a lake")))
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


WRITES = (
    "COPY (SELECT 1) TO '{file}'", "COPY m__small TO '{file}' (FORMAT csv)", "EXPORT DATABASE '{file}'",
    "ATTACH '{file}' AS a", "ATTACH ':memory:' AS a", "INSTALL httpfs", "LOAD '{file}.duckdb_extension'",
    "SET threads = 1", "RESET threads", "CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')", "CREATE VIEW v AS SELECT 1",
    "CREATE OR REPLACE VIEW m__small AS SELECT 1", "CREATE MACRO f() AS 1",
    "CALL enable_logging(storage='file', storage_path='{file}')", "CALL enable_profiling()", "PRAGMA enable_profiling",
    "PRAGMA import_database('{file}')", "IMPORT DATABASE '{file}'", "INSERT INTO m__small VALUES (2, 'b')", "VACUUM",
    "CHECKPOINT", "PREPARE p AS SELECT 1", "EXECUTE p", "USE memory", "BEGIN", "DELETE FROM m__small",
    "SET VARIABLE x = 1", "DETACH memory", "ALTER VIEW m__small RENAME TO x", "UPDATE m__small SET n = 2",
)  # fmt: skip
HIDDEN = (
    "WITH x AS (COPY (SELECT 1) TO '{file}') SELECT 1", "WITH x AS (COPY (SELECT 1) TO '{lake}/x.csv') FROM m__small",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{file}') SELECT 1)", "FROM query('COPY (SELECT 1) TO ''{file}''')",
    "FROM query('WITH x AS (COPY (SELECT 1) TO ''{file}'') SELECT 1')", "FROM query_table('{file}')",
    "FROM enable_logging(storage='file', storage_path='{file}')", "FROM enable_profiling()", "FROM force_checkpoint()",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "FROM which_secret('s3://x', 's3')",
    "WITH x AS (COPY (SELECT 1) TO '{file}') PIVOT m__days ON k USING sum(x)",
    "PIVOT (WITH x AS (COPY (SELECT 1) TO '{lake}/x.csv') FROM m__days) ON k USING sum(x)",
    "SELECT 1 /* /* */ '*/ ; COPY (SELECT 42 AS pwned) TO '{file}' --'",
    "SELECT $$ ; $$; COPY (SELECT 1) TO '{file}'", "SELECT e'\\\\'; COPY (SELECT 1) TO '{file}'",
)  # fmt: skip
READS = (
    "FROM read_text('{file}')", "FROM read_blob('{file}')", "FROM read_csv('{file}')", "FROM read_csv_auto('{file}')",
    "FROM read_json('{file}')", "FROM read_parquet('{file}')", "FROM parquet_metadata('{file}')", "FROM '{file}'",
    "FROM glob('{folder}/*')", "FROM sniff_csv('{file}')", "FROM read_duckdb('{file}')",
    "FROM read_ndjson_objects('{file}')", "FROM read_text('/proc/self/environ')", "FROM read_text('{lake}/../file')",
    "FROM glob('/etc/*')", "FROM read_text('http://127.0.0.1:1/x')", "FROM read_parquet('s3://bucket/x')",
)  # fmt: skip


@pytest.fixture
def small(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    lake.replace("m__small", pa.table({"n": pa.array([1], pa.int32()), "name": ["a"]}), slice={"n": 1})
    lake.replace("m__days", pa.table({"k": ["a"], "x": [1.0]}), slice={"k": "a"})
    return lake


@pytest.fixture
def attacked(small, tmp_path, monkeypatch):
    """Runs an attack: a usage error that repeats nothing of the file, and leaves no file anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a\nhunter2pw\n")

    def attack(sql):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UsageError) as caught:
            query(small, sql.format(file=tmp_path / "file", folder=tmp_path, lake=small.root))
        assert "hunter2pw" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before, sql
        assert (tmp_path / "file").read_text() == "a\nhunter2pw\n"

    return attack


def test_nothing_is_written_or_read_beside_the_tables(attacked):
    for attack in (*WRITES, *HIDDEN, *READS):
        attacked(attack)


@pytest.mark.parametrize(
    "form",
    [
        "EXPLAIN ANALYZE ",
        *(
            pytest.param(form, marks=pytest.mark.long)
            for form in ("EXPLAIN ", "explain (analyze, format json) ", "/* x */ EXPLAIN ")
        ),
    ],
)
def test_nor_behind_an_explain(attacked, form):
    for attack in (*WRITES, *HIDDEN, *(READS if "ANALYZE" in form else ())):
        attacked(form + attack)


def test_the_engine_itself_is_locked(attacked, monkeypatch):
    """What the parser lets through fails in the engine as well: each attack is given to it without the parser."""
    monkeypatch.setattr("tallywright.data.query._reading", lambda _, sql, __: _Reading(sql, frozenset({"m__small"})))
    for attack in (
        "COPY (SELECT 1) TO '{file}'", "EXPORT DATABASE '{folder}/new'", "ATTACH '{folder}/new.db' AS a",
        "INSTALL httpfs", "LOAD '{file}'", "SET threads = 1", "PRAGMA enable_profiling",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "CALL enable_logging(storage='file', storage_path='{folder}/new')",
        "WITH x AS (COPY (SELECT 1) TO '{folder}/new.csv') SELECT 1",
        "WITH x AS (COPY (SELECT 1) TO '{lake}/x.csv') SELECT 1", *READS,
    ):  # fmt: skip
        attacked(attack)


def test_what_only_reads_is_no_attack(small):
    for sql in (
        "SELECT 'COPY (SELECT 1) TO ''x''; ATTACH' AS t", 'SELECT 1 AS "copy", 2 AS "attach"',
        "EXPLAIN ANALYZE FROM m__small", "EXPLAIN PIVOT m__days ON k USING sum(x)", "FROM duckdb_tables()",
        "SELECT random() AS r", "FROM range(3)", "FROM information_schema.tables", "(SELECT 1)",
        "SELECT current_setting('TimeZone') AS z", "-- COPY\nFROM m__small; -- ATTACH",
        "SELECT * FROM (PIVOT m__days ON k USING sum(x))", "SELECT n AS copy FROM m__small",
    ):  # fmt: skip
        assert query(small, sql).num_rows >= ("duckdb_tables" not in sql), sql


def test_only_the_tables_that_it_names_are_opened(small, monkeypatch):
    opened = []
    look = Lake.look
    monkeypatch.setattr(
        Lake, "look", lambda lake, table, version=None: opened.append(table) or look(lake, table, version)
    )
    query(small, "SELECT 1 AS x")
    assert opened == []
    query(small, "WITH c AS (FROM M__SMALL) SELECT (SELECT count(*) FROM m__small) AS n FROM c")
    assert {*opened} == {"m__small"}
    query(small, "PIVOT m__days ON k USING sum(x)")
    assert {*opened} == {"m__small", "m__days"}


def test_a_table_of_others_and_a_damaged_one_are_in_nobodys_way(small, tmp_path):
    write_deltalake(
        tmp_path / "lake/of_others", pa.table({"a": [1]}), configuration={"delta.enableChangeDataFeed": "true"}
    )
    next((tmp_path / "lake/m__days").rglob("*.parquet")).unlink()
    assert query(small, "SELECT count(*) AS n FROM m__small").to_pylist() == [{"n": 1}]
    assert query(small, "SELECT 1 AS x").num_rows == 1
    assert query(small, "SHOW TABLES").num_rows >= 1
    with pytest.raises(IntegrityError, match="m__days"):
        query(small, "FROM m__days")
    with pytest.raises(TableContractError, match="of_others"):
        query(small, "FROM of_others")
    with pytest.raises(UsageError, match="did you mean 'm__small'"):
        query(small, "FROM m__smal")
