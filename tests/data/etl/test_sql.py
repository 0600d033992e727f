"""What a project's SQL may be, by DuckDB's own parser, and how parameters get into it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.embedded_sql import connect, lock
from tallywright.data.etl.queries import Query, checked, read_query
from tallywright.errors import InputError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMETERS = {"from_date": date(2024, 1, 5), "to_date": date(2024, 1, 6), "lookback_date": date(2024, 1, 2)}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as connection:
        lock(connection)
        yield connection


def ready(engine: duckdb.DuckDBPyConnection, text: str, columns: tuple[str, ...] = ()) -> str:
    return checked(engine, Query(text, PARAMETERS, "sql/f.sql"), columns).text


def test_parameters_are_the_engines_own(engine) -> None:
    query = checked(engine, Query("SELECT :lookback_date AS low, typeof(:to_date) AS kind", PARAMETERS, "f.sql"))
    assert query.text == "SELECT $lookback_date AS low, typeof($to_date) AS kind"
    assert query.values == {"lookback_date": date(2024, 1, 2), "to_date": date(2024, 1, 6)}
    assert engine.execute(query.text, query.values).fetchall() == [(date(2024, 1, 2), "DATE")]


def test_an_instant_is_a_timestamp_in_utc(engine, tmp_path) -> None:
    (tmp_path / "f.sql").write_text("SELECT :from_hour AS t, typeof(:from_hour) AS kind")
    query = read_query(tmp_path / "f.sql", {"from_hour": datetime(2024, 1, 5, 3, tzinfo=UTC)})
    found = checked(engine, query)
    assert engine.execute(found.text, found.values).fetchall() == [
        (datetime(2024, 1, 5, 3), "TIMESTAMP")  # noqa: DTZ001 - SQL's own, without a zone
    ]


@pytest.mark.parametrize(
    "opaque",
    [
        "':from_date'", '":from_date"', "-- :from_date; DROP\n", "/* :nothing; */", "x::DATE", "';'",
        "/* /* :x */ :y */",
        "$$ :z ; $$", "$tag$ :z $tag$", "e'\\' :z'", "x[1:n]", "{'a':b}", "x[:n]",
    ],
)  # fmt: skip
def test_texts_names_comments_casts_slices_and_structs_stay_as_they_are(engine, opaque) -> None:
    text = f"SELECT {opaque}\n1 FROM t" if opaque.startswith(("--", "/*")) else f"SELECT {opaque} FROM t"
    assert ready(engine, text) == text


def test_one_semicolon_may_end_it(engine) -> None:
    assert ready(engine, "-- a; b\nselect 1; -- end;") == "-- a; b\nselect 1  -- end;"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT\n :todate", "f.sql line 2: unknown parameter :todate .did you mean ':to_date'"),
        ("SELECT $now", "unknown parameter now"),
        ("SELECT ?", "unknown parameter"),
        ("SELECT 1; DROP TABLE x", "more than one statement"),
        ("SELECT 1 /* /* */ '*/ ; COPY (SELECT 42 AS pwned) TO 'pwned.csv' --'", "more than one statement"),
        ("SELECT e'\\\\' ; COPY t TO 'x' ; --'", "more than one statement"),
        ("WITH x AS (COPY (SELECT 1) TO 'pwned.csv') SELECT 1", "COPY inside a WITH"),
        ("SELECT (WITH x AS (COPY (SELECT 1) TO 'pwned.csv') SELECT 1)", "COPY inside a WITH"),
        ("FROM (SELECT * FROM (WITH x AS (COPY t TO 'p') FROM t))", "COPY inside a WITH"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) FROM x", "INSERT inside a WITH"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING *) FROM x", "UPDATE inside a WITH"),
        ("WITH x AS (DELETE FROM t RETURNING *) FROM x", "DELETE inside a WITH"),
        ("DELETE FROM x", "not a query"),
        ("ATTACH 'x.db'", "not a query"),
        ("CREATE TABLE t (a INT)", "not a query"),
        ("EXPLAIN SELECT 1", "not a query"),
        ("", "not a query"),
        ("-- only a comment", "not a query"),
        ("/* SELECT */ COPY t TO 'x'", "not a query"),
        ("FROM read_text('/proc/self/environ')", r"line 1: read_text\(\) reads something else"),
        ("FROM query('SELECT 1')", r"query\(\) reads something else"),
        ("FROM json_execute_serialized_sql('')", "reads something else"),
        ("FROM duckdb_settings()", "reads something else"),
        ("FROM glob('*')", "reads something else"),
        ("SELECT (SELECT count(*) FROM pg_settings)", "line 1: pg_settings reads something else than the sources"),
        ("FROM Duckdb_Logs", "duckdb_logs reads something else"),
        ("FROM information_schema.tables", "information_schema reads something else"),
        ("FROM system.main.sqlite_master", "system reads something else"),
        ("FROM (SHOW ALL TABLES)", "SHOW, DESCRIBE or SUMMARIZE reads something else"),
        ("SUMMARIZE accepted", "SHOW, DESCRIBE or SUMMARIZE reads something else"),
    ],
)
def test_refuses_what_is_no_plain_query(engine, text, message) -> None:
    with pytest.raises(SpecError, match=message):
        ready(engine, text)


def test_a_query_that_is_none_names_its_line(engine) -> None:
    with pytest.raises(InputError, match=r"sql/f.sql: .*syntax error.* LINE 3"):
        ready(engine, "SELECT\n\nFROM FROM")


def volatile_by_the_catalogue() -> list[str]:
    """Names of functions that the catalogue does not call consistent, macros and operators left out."""
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability IN ('VOLATILE', "
            "'CONSISTENT_WITHIN_QUERY') AND function_type <> 'macro'"
        ).fetchall()
    return sorted(name for (name,) in found)


def test_every_function_that_the_catalogue_calls_volatile_is_refused(engine) -> None:
    names = volatile_by_the_catalogue()
    assert {"random", "uuid", "now", "nextval", "current_date"} <= {*names}
    for name in names:
        with pytest.raises(SpecError, match=rf"sql/f.sql line 3: {name}\(\) gives another value each time"):
            ready(engine, f"SELECT\n1,\n{name}() AS x")


def test_every_macro_whose_value_changes_is_refused(engine) -> None:
    """A macro is volatile when the engine, asked for the plan of a call, names a function that is."""
    for name in ("ago", "pg_conf_load_time", "pg_postmaster_start_time", "pg_sleep", "assert_true", "current_catalog"):
        with pytest.raises(SpecError, match=rf"{name}\(\) gives another value each time"):
            ready(engine, f"SELECT {name}(x) AS v FROM t")
    for name in ("nullif", "list_sum", "split_part", "date_add", "array_append", "fmod"):
        ready(engine, f"SELECT {name}(x, y) AS v FROM t")


WITHOUT_PARENTHESES = ("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp")


def test_every_word_that_the_engine_answers_by_the_clock_is_refused(engine) -> None:
    words = {row[0] for row in engine.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
    words |= {row[0] for row in engine.execute("SELECT function_name FROM duckdb_functions()").fetchall()}
    answered = set()
    for word in sorted(word for word in words if word.isidentifier()):
        with suppress(duckdb.Error):
            (value,) = engine.execute(f"SELECT {word}").fetchone() or (None,)
            if isinstance(value, date) or hasattr(value, "hour"):
                answered.add(word)
    assert answered <= {*WITHOUT_PARENTHESES}
    assert "current_date" in answered
    for word in WITHOUT_PARENTHESES:
        with pytest.raises(SpecError, match=f"line 1: {word} gives another value each time"):
            ready(engine, f"SELECT {word} FROM t")
        assert ready(engine, f"SELECT {word} FROM t", (word.upper(),)), "a column of that name is one"
        assert ready(engine, f"SELECT t.{word} FROM t")


PLACES = (
    "SELECT {} AS x", "SELECT 1 WHERE {} IS NULL", "SELECT 1 AS a FROM t ORDER BY {}", "SELECT sum({}) OVER () FROM t",
    "WITH c AS (SELECT {} AS x) FROM c", "SELECT (SELECT {}) AS x", "VALUES ({})",
    "SELECT list_transform([1], lambda x: {})",
    "SELECT 1 UNION ALL SELECT {}", "SELECT count(*) FILTER ({} IS NULL) FROM t", "SELECT 1 FROM t GROUP BY {}",
    "SELECT 1 FROM t HAVING {} IS NULL", "SELECT 1 FROM t QUALIFY {} IS NULL", "SELECT 1 FROM t JOIN u ON {} = 1",
    "SELECT 1 LIMIT {}", "SELECT CASE WHEN {} = 1 THEN 1 END AS x", "FROM range({})", "SELECT {{'a': {}}} AS s",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT {} FROM r) FROM r", "SELECT * REPLACE ({} AS a) FROM t",
    "FROM t, LATERAL (SELECT {})", "SELECT max(x ORDER BY {}) FROM t", "PIVOT t ON a IN (1) USING sum({})",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_volatile_function_is_found_wherever_it_stands(engine, place) -> None:
    for call in ("random()", "main.random()", '"random"()', "system.main.random()", "RANDOM ( )"):
        with pytest.raises(SpecError, match=r"random\(\) gives another value each time"):
            ready(engine, place.format(call))


@pytest.mark.parametrize("text", [
    "SELECT age(x) FROM t", "FROM t USING SAMPLE 3", "FROM t TABLESAMPLE 3%", "SELECT approx_quantile(x, 0.5) FROM t",
    "SELECT reservoir_quantile(x, 0.5, 10) FROM t", "SELECT current_localtimestamp()",
])  # fmt: skip
def test_what_the_catalogue_does_not_mark_is_refused_all_the_same(engine, text) -> None:
    with pytest.raises(SpecError, match="each time"):
        ready(engine, text)


@pytest.mark.parametrize("text", [
    "SELECT e'\\' ; COPY t TO ''x' ; --'",
    "SELECT age(x, y) FROM t", "FROM t USING SAMPLE reservoir(3 ROWS) REPEATABLE (3)", "FROM range(3)",
    "FROM main.tables", "WITH columns AS (FROM t) FROM columns", "SELECT unnest([1, 2])",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
    "SELECT " + " + ".join(["a"] * 900) + " FROM t", "PIVOT t ON a IN (1, 2) USING sum(b)", "SELECT a.user FROM t a",
    " UNION ALL ".join(["SELECT 1"] * 300), "SELECT 'é' AS ö FROM t WHERE d BETWEEN :from_date AND :to_date",
])  # fmt: skip
def test_what_gives_the_same_rows_is_taken(engine, text) -> None:
    assert ready(engine, text)


@pytest.mark.parametrize("value", ["2024-01-01' OR 1=1 --", datetime(2024, 1, 1), 20240101, None])  # noqa: DTZ001
def test_refuses_parameters_that_are_no_dates(tmp_path, value) -> None:
    (tmp_path / "f.sql").write_text("SELECT :from_date")
    with pytest.raises(SpecError, match="expected: a date"):
        read_query(tmp_path / "f.sql", {"from_date": value})


@given(st.text(alphabet="':\"`-/*;\n $from_date()[]{}éE\\", max_size=40) | st.text(max_size=40))
def test_never_fails_otherwise(text) -> None:
    with connect() as connection:
        lock(connection)
        for start in ("SELECT ", "", "WITH x AS ("):
            with suppress(SpecError, InputError):
                ready(connection, start + text)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(SpecError, match=r"features\.sql"):
        read_query(tmp_path / "features.sql", PARAMETERS)


def test_a_byte_order_mark_is_no_part_of_the_text(engine, tmp_path) -> None:
    (tmp_path / "f.sql").write_bytes(b"\xef\xbb\xbfSELECT 1")
    assert checked(engine, read_query(tmp_path / "f.sql", PARAMETERS)).text == "SELECT 1"
