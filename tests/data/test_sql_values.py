"""Every value of every SQL type, as a table and as JSON show it, is the same value when SQL reads it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallywright.data.delta.lake import Lake
from tallywright.data.query import Answer, ask
from tallywright.data.sql_values import cell, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(str(tmp_path_factory.mktemp("values") / "lake"))


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def shown(answer: Answer) -> list[list[str]]:
    """The cells of a table."""
    return [
        [cell(value, kind) for value, kind in zip(row, answer.kinds, strict=True)] for row in answer.rows
    ]  # fmt: skip


def as_sql(text: str) -> str:
    """What a person pastes: an E'' string as it is, other texts in quotes, a dash for null."""
    return "NULL" if text == "–" else text if text.startswith("E'") else literal(text)


def require_same(engine: duckdb.DuckDBPyConnection, values: list[str], pasted: list[str], kinds: list[str]) -> None:
    """The engine finds no difference; a nan is one as another, and 0 and -0 are two."""
    compared = "true, " + ", ".join(
        f"(SELECT v IS NOT DISTINCT FROM p AND CAST(v AS VARCHAR) IS NOT DISTINCT FROM CAST(p AS VARCHAR) "
        f"FROM (SELECT {value} AS v, CAST({text} AS {kind}) AS p))"
        for value, text, kind in zip(values, pasted, kinds, strict=True)
    )
    found = engine.execute(f"SELECT {compared}".rstrip(", ")).fetchone() or ()
    wrong = [case for case, same in zip(zip(kinds, values, pasted, strict=True), found[1:], strict=True) if not same]
    assert wrong == []


def check(engine: duckdb.DuckDBPyConnection, lake: Lake, values: list[str]) -> None:
    """Values in the words of SQL are the same in a table, and as JSON where JSON has a text or a number for one."""
    kinds = list(
        map(str, engine.execute(f"SELECT {', '.join(f'typeof({value})' for value in values)}").fetchone() or ())
    )
    sql = "SELECT " + ", ".join(f"{value} AS v{place}" for place, value in enumerate(values))
    require_same(engine, values, [as_sql(text) for text in shown(ask(lake, sql, limit=1, as_json=False))[0]], kinds)
    answer = ask(lake, sql, limit=1, as_json=True)
    text = to_json([dict(zip(answer.columns, answer.rows[0], strict=True))])
    read = json.loads(text, parse_int=Digits, parse_float=Digits)[0]
    simple = [place for place in range(len(values)) if not isinstance(read[f"v{place}"], list | dict)]
    pasted = [read[f"v{place}"] for place in simple]
    require_same(
        engine,
        [values[place] for place in simple],
        ["NULL" if one is None else literal(str(one).lower() if isinstance(one, bool) else one) for one in pasted],
        [kinds[place] for place in simple],
    )


class Digits(str):
    """A number of JSON as it is written."""

    __slots__ = ()


EXTREMES = {
    "TINYINT": ["-128", "127"], "SMALLINT": ["-32768", "32767"], "INTEGER": ["-2147483648", "2147483647"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"], "UTINYINT": ["0", "255"], "USMALLINT": ["65535"],
    "UINTEGER": ["4294967295"], "UBIGINT": ["18446744073709551615"],
    "HUGEINT": ["-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"],
    "UHUGEINT": ["0", "340282366920938463463374607431768211455"],
    "BIGNUM": ["9" * 400, "-" + "9" * 400], "BOOLEAN": ["true", "false"],
    "FLOAT": ["nan", "inf", "-inf", "-0.0", "1.4e-45", "3.4028235e38", "0.1", "16777217"],
    "DOUBLE": ["nan", "inf", "-inf", "-0.0", "5e-324", "1.7976931348623157e308", "0.1", "9007199254740993", "1e22"],
    "DECIMAL(38, 0)": ["9" * 38, "-" + "9" * 38], "DECIMAL(38, 38)": ["0." + "9" * 38],
    "DECIMAL(4, 1)": ["-0.1", "3.0"],
    "DATE": ["infinity", "-infinity", "5877642-06-25 (BC)", "5881580-07-10", "0001-01-01", "9999-12-31",
             "0044-03-15 (BC)"],
    "TIME": ["00:00:00", "24:00:00", "23:59:59.999999"], "TIMETZ": ["00:00:00+15:59:59", "24:00:00-15:59:59"],
    "TIME_NS": ["23:59:59.999999999"],
    "TIMESTAMP": ["infinity", "-infinity", "290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54.775806",
                  "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2025-01-01"],
    "TIMESTAMP_S": ["infinity", "2025-01-01 00:00:01"], "TIMESTAMP_MS": ["-infinity", "2025-01-01 00:00:00.001"],
    "TIMESTAMP_NS": ["infinity", "2262-04-11 23:47:16.854775806", "1677-09-22 00:00:00",
                     "2025-01-01 00:00:00.0000001"],
    "TIMESTAMPTZ": ["infinity", "294247-01-10 04:00:54.775806+00", "2025-01-01 00:00:00+00",
                    "0044-03-15 (BC) 00:00:00+00"],
    "INTERVAL": ["0 days", "-3 years 5 days", "83 years 3 months 999 days 00:16:39.999999", "-00:00:00.000001"],
    "UUID": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "BLOB": ["", "\\xFF", "\\x00\\x5C\\x27", "a b"], "BIT": ["0", "1" * 77],
    "VARCHAR": ["", "–", "NULL", "null", " a ", "E'x'", "a\nb", "\x1b[31m", "é🦆", "'", '"', "\\",
                "infinity", "\t", "a\\nb"],
    "JSON": ['{"a": [1, null]}', "null"],
}  # fmt: skip


def test_the_extreme_values_of_each_type(engine, lake) -> None:
    check(
        engine,
        lake,
        [
            f"CAST({'NULL' if text is None else literal(text)} AS {kind})"
            for kind, texts in EXTREMES.items()
            for text in (*texts, None)
        ],
    )


def test_all_types_of_the_engine(engine, lake) -> None:
    """The engine's own table of all types, so that a type of a later version is shown too."""
    described = engine.execute("DESCRIBE FROM test_all_types()").fetchall()
    as_json = ask(lake, "FROM test_all_types()", limit=9, as_json=True)
    assert len(json.loads(to_json(as_json.rows))) == as_json.total == 3
    cells = shown(ask(lake, "FROM test_all_types()", limit=9, as_json=False))
    for place, (name, kind) in enumerate((str(row[0]), str(row[1])) for row in described):
        if name == "union":  # which names its member besides
            continue
        values = ", ".join(f"CAST({as_sql(row[place])} AS {kind})" for row in cells)
        sql = f'SELECT list("{name}") IS NOT DISTINCT FROM [{values}] FROM test_all_types()'
        assert engine.execute(sql).fetchone() == (True,), name


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
SCALARS = (
    st.tuples(st.just("BIGINT"), st.integers(-(2**63), 2**63 - 1).map(str))
    | st.tuples(st.just("UHUGEINT"), st.integers(0, 2**128 - 1).map(str))
    | st.tuples(st.just("DOUBLE"), st.floats().map(str)) | st.tuples(st.just("FLOAT"), st.floats(width=32).map(str))
    | st.tuples(st.just("DECIMAL(38, 9)"), st.decimals(-(10**28), 10**28, places=9).map("{:f}".format))
    | st.tuples(st.just("VARCHAR"), TEXTS)
    | st.tuples(st.just("BLOB"), st.binary(max_size=8).map(lambda data: "".join(f"\\x{byte:02X}" for byte in data)))
    | st.tuples(st.just("DATE"), st.integers(-2147483646, 2147483646).map(str))
    | st.tuples(st.just("TIMESTAMP"), st.integers(-(2**62), 2**62).map(str))
    | st.tuples(st.just("TIMESTAMPTZ"), st.integers(-(2**62), 2**62).map(str))
    | st.tuples(st.just("INTERVAL"), st.integers(-(10**9), 10**9).map(lambda days: f"{days} days"))
    | st.tuples(st.just("UUID"), st.uuids().map(str))
    | st.tuples(st.just("BOOLEAN"), st.sampled_from(["true", "false"]))
)  # fmt: skip


def in_sql(scalar: tuple[str, str]) -> str:
    kind, text = scalar
    if kind == "DATE":
        return f"(DATE '1970-01-01' + CAST({max(-2_000_000, min(2_000_000, int(text)))} AS INTEGER))"
    if kind in {"TIMESTAMP", "TIMESTAMPTZ"}:
        return f"CAST(make_timestamp({text}) AS {kind})"
    return f"CAST({literal(text)} AS {kind})"


VALUES = st.recursive(
    SCALARS.map(in_sql),
    lambda inner: (
        inner.map(lambda one: f"[{one}, NULL]")
        | st.tuples(inner, inner).map(lambda two: f"{{'a': {two[0]}, 'it''s b': {two[1]}}}")
        | inner.map(lambda one: f"MAP {{'k': {one}, '': NULL}}")
        | inner.map(lambda one: f"array_value({one}, {one})")
        | st.tuples(inner, inner).map(lambda two: f"row({two[0]}, {two[1]})")
    ),
    max_leaves=4,
)


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_any_values_are_read_back_as_they_are(engine, lake, values: list[str]) -> None:
    check(engine, lake, values)


def test_a_union_names_its_member(lake) -> None:
    sql = "SELECT union_value(\"it's\" := 5)::UNION(\"it's\" INT, t VARCHAR) AS u, [union_value(t := '5')] AS l"
    assert ask(lake, sql, limit=1, as_json=True).rows == [[{"it's": "5"}, [{"t": "5"}]]]
    assert shown(ask(lake, sql, limit=1, as_json=False)) == [["{'it\\'s': 5}", "['{\\'t\\': 5}']"]]


def test_json_has_numbers_with_all_their_digits(lake) -> None:
    def text(sql: str) -> str:
        answer = ask(lake, sql, limit=9, as_json=True)
        return to_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])

    assert text("SELECT 340282366920938463463374607431768211455::UHUGEINT AS v") == (
        '[{"v": 340282366920938463463374607431768211455}]'
    )
    assert text("SELECT 0.1::FLOAT AS f, 0.1::DOUBLE AS d, 1.50::DECIMAL(9, 2) AS e, 'nan'::DOUBLE AS n") == (
        '[{"f": 0.10000000149011612, "d": 0.1, "e": 1.50, "n": "nan"}]'
    )
    assert text("SELECT date 'infinity' AS v, '\\xFF'::BLOB AS b, true AS t") == (
        '[{"v": "infinity", "b": "\\\\xFF", "t": true}]'
    )
    assert text("SELECT TIMESTAMPTZ '2025-04-03 04:00:00.000007+00' AS t, DATE '2025-04-03' AS d") == (
        '[{"t": "2025-04-03T04:00:00.000007+00:00", "d": "2025-04-03"}]'
    )
    assert text("SELECT MAP {1: [2]} AS m, {'a': NULL} AS s, [] AS l, 1 AS x, 2 AS x") == (
        '[{"m": [[1, [2]]], "s": {"a": null}, "l": [], "x": 1, "x_1": 2}]'
    )


def test_rows_beyond_the_limit_are_counted(lake) -> None:
    answer = ask(lake, "FROM range(200000) AS r(n)", limit=70_000, as_json=False)
    assert (answer.total, len(answer.rows), answer.rows[-1]) == (200_000, 70_000, ["69999"])


def test_a_control_is_never_printed(lake) -> None:
    texts: list[Any] = shown(ask(lake, "SELECT '\x1b[2J\x07\u202e' AS a, chr(0) AS b", limit=1, as_json=False))[0]
    assert texts == [r"E'\x1b[2J\x07\xe2\x80\xae'", "E'' || chr(0) || E''"]
