"""A project's SQL reaches its sources and nothing else; each mechanism is tried in each of the three files."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from tallywright.data.etl import engine, queries
from tallywright.data.etl.ingest import ingest
from tallywright.data.statement import Statement
from tallywright.errors import InputError, SpecError, StorageError

DAY = date(2024, 1, 3)
SECOND = (
    "; COPY (SELECT 42) TO 'pwned.csv'", "; ATTACH 'pwned.db' AS p", "; INSTALL httpfs", "; CREATE TABLE t (a INT)",
    " /* /* */ '*/ ; COPY (SELECT 42 AS pwned) TO 'pwned.csv' --'", "; SET threads = 1", "; SELECT 1",
    " AND $$a$$ = $$a$$; EXPORT DATABASE 'pwned'", " AND e'\\\\' <> ''; COPY (SELECT 1) TO 'pwned.csv'",
)  # fmt: skip
INSIDE = (
    "WITH x AS (COPY (SELECT 1) TO 'pwned.csv') ", "WITH x AS (INSERT INTO accepted VALUES (1) RETURNING *) ",
    "WITH x AS (COPY (SELECT 1) TO '{folder}/work/raw/pwned.parquet') ",
    "WITH x AS (COPY (SELECT 1) TO '{folder}/lake/p') ", "WITH x AS (FROM read_text('/proc/self/environ')) ",
    "WITH x AS (FROM glob('/etc/*')) ", "WITH x AS (FROM read_csv('{file}')) ", "WITH x AS (FROM query('SELECT 1')) ",
    "WITH x AS (FROM parquet_metadata('{file}')) ", "EXPLAIN ANALYZE ", "CREATE TABLE t AS ",
    "WITH x AS (FROM enable_logging(storage='file', storage_path='pwned')) ", "COPY ",
)  # fmt: skip


@pytest.fixture
def refused(shop, tmp_path, monkeypatch):
    """Ingests: the spec is refused before any table is made, and no file is written."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("a\nhunter2pw\n")

    def run() -> None:
        with pytest.raises((SpecError, InputError)) as caught:
            ingest(shop.project(), shop.lake, DAY, DAY)
        assert caught.value.exit_code == SpecError.exit_code or "syntax error" in caught.value.found
        assert "hunter2pw" not in str(caught.value)
        assert shop.lake.tables() == []
        assert [path for path in tmp_path.rglob("*") if "pwned" in path.name or path.name in {"p", "home"}] == []

    return run


@pytest.mark.parametrize("file", ["contract", "features", "labels"])
def test_a_second_statement(shop, refused, file) -> None:
    text = getattr(shop, file).strip().removesuffix(";")
    for attack in SECOND:
        setattr(shop, file, text + attack)
        refused()


@pytest.mark.parametrize("file", ["contract", "features", "labels"])
def test_a_statement_or_a_file_inside(shop, refused, tmp_path, file) -> None:
    text = getattr(shop, file)
    for attack in INSIDE:
        setattr(shop, file, attack.format(folder=tmp_path, file=tmp_path / "secret.csv") + text)
        refused()


def test_a_file_in_the_place_of_a_table(shop, refused, tmp_path) -> None:
    shop.contract = shop.contract.replace("FROM orders o", f"FROM '{tmp_path / 'secret.csv'}' o")
    refused()


def test_the_engine_itself_is_locked(shop, monkeypatch, tmp_path) -> None:
    """What the parser lets through fails in the engine as well."""

    def unchecked(_connection, query, _columns=()):
        text, _ = queries.with_named_parameters(query.text, [*query.values])
        return queries.ReadyQuery(
            text, {name: value for name, value in query.values.items() if f"${name}" in text}, Statement(text)
        )

    monkeypatch.setattr(engine, "checked", unchecked)
    text = shop.features
    for attack in ("read_text('/proc/self/environ')", f"read_csv('{tmp_path}/orders.csv')", "glob('/etc/*')"):
        shop.features = text.replace("kind, amount", f"(SELECT count(*) FROM {attack}) AS kind, amount")
        with pytest.raises(SpecError, match=r"features.sql line 2: it reaches beyond the sources"):
            ingest(shop.project(), shop.lake, DAY, DAY)


def test_a_byte_order_mark_in_front(shop) -> None:
    for name in ("contract", "features", "labels"):
        setattr(shop, name, "\ufeff" + getattr(shop, name))
    assert ingest(shop.project(), shop.lake, DAY, DAY)[0].rows == 10


def test_sql_without_an_end_is_stopped(shop) -> None:
    shop.data = {"sql_minutes": 0.005}
    shop.contract = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) " + shop.contract.replace(
        "o.id,", "o.id, (SELECT max(n) FROM t) AS m,"
    )
    with pytest.raises(InputError, match=r"contract.sql: the query has not ended after 0.005 minutes"):
        ingest(shop.project(), shop.lake, DAY, DAY)
    assert shop.lake.tables() == []


def test_a_long_query_says_so(shop, heard, monkeypatch) -> None:
    monkeypatch.setattr("tallywright.data.embedded_sql._SAID_AFTER", 0.0)
    ingest(shop.project(), shop.lake, DAY, DAY)
    assert "contract.sql has been running for 0 seconds; its limit is 60 min" in heard.text


def test_a_single_giant_value_is_left_behind_when_its_time_is_up(shop, monkeypatch) -> None:
    monkeypatch.setattr("tallywright.data.embedded_sql._STOPS_WITHIN", 0.1)
    shop.data = {"sql_minutes": 0.005}
    giant = "levenshtein(repeat('a', 40000), repeat('b', 40000))"
    shop.contract = shop.contract.replace("o.id,", f"o.id, {giant} AS m,")
    with pytest.raises(InputError, match=r"contract.sql: the query has not ended after 0.005 minutes"):
        ingest(shop.project(), shop.lake, DAY, DAY)
    assert shop.lake.tables() == []


def test_what_does_not_fit_into_memory_is_told_as_that(shop) -> None:
    made = engine.DuckDbEngine(shop.project())
    made._connection.execute("SET memory_limit = '50MB'")
    made._connection.execute("SET max_temp_directory_size = '1MB'")
    query = queries.Query("SELECT list(range) AS all_of_them FROM range(100000000)", {}, "sql/features.sql")
    with pytest.raises(
        StorageError, match=r"sql/features.sql: Out of Memory Error.*\n.*fit into the memory"
    ) as refused:
        made.keep("kept", query, lambda _: None)
    assert "check the storage" not in str(refused.value)
    made.close()


def test_fractions_are_added_up_in_one_order(shop, tmp_path) -> None:
    """So that an ingest that is repeated has the same bits: several threads would each add up their own rows."""
    sums = set()
    for _ in range(5):
        made = engine.DuckDbEngine(shop.project())
        made.keep("rows", queries.Query("SELECT range % 10 AS k, range / 7.0 AS v FROM range(1000000)", {}, "a"), _take)
        summed = "SELECT k, sum(v) AS s, first(v) AS f, list(v)[1:3] AS l FROM rows GROUP BY k ORDER BY k"
        made.keep("sums", queries.Query(summed, {}, "b"), _take)
        sums.add(str(made._connection.execute("FROM sums ORDER BY k").fetchall()))
        made.close()
    assert len(sums) == 1


def _take(_: pa.Schema) -> None:
    """Takes any columns."""
