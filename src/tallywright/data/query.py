"""SQL over all tables of the lake by name: one DuckDB view a Delta table, over exactly its current files.

A query opens the tables that it names and no others, in an engine that is locked before it sees the text's meaning: it
reaches the files of those tables, and what the parser shows of the text only reads.
"""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

import re
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from tallywright.data.delta.rows import quoted
from tallywright.data.delta.standing import unreadable_file
from tallywright.data.embedded_sql import connect as connect_engine
from tallywright.data.embedded_sql import lock, out_of_memory, parquet_rows, run, text_literal
from tallywright.data.remote_dataset import remote_dataset
from tallywright.data.sql_values import cell_expression, json_expression, json_value
from tallywright.data.statement import (
    READING_FUNCTIONS,
    NotOneSelectError,
    explained,
    parquet_by_path,
    parse_tree,
    statement_kind,
    tokens,
    without_semicolon,
)
from tallywright.data.storage.filesystem import is_disk, storage_errors
from tallywright.data.types import sql_name
from tallywright.errors import TallyError, UsageError, did_you_mean
from tallywright.score_period import HOUR_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deltalake import DeltaTable
    from duckdb.sqltypes import DuckDBPyType

    from tallywright.data.delta.files import DataFile
    from tallywright.data.delta.lake import Lake

_HOUR: Final = (
    f"CAST(coalesce(try_strptime({HOUR_COLUMN}, '%Y%m%dT%H%MZ'), TRY_CAST(url_decode({HOUR_COLUMN}) AS TIMESTAMP)) "
    f"AS TIMESTAMPTZ) AS {HOUR_COLUMN}"
)
_BATCH: Final = 65_536
_NO_TABLE: Final = re.compile(r"Table with name (.+?) does not exist!")
_WRITING: Final = frozenset({
    "alter", "attach", "call", "checkpoint", "copy", "create", "delete", "detach", "drop", "execute", "export",
    "import", "insert", "install", "load", "merge", "pragma", "prepare", "truncate", "update", "vacuum",
})  # fmt: skip
"""Words of statements that do more than read: of a PIVOT the engine shows no tree, so none of them may stand in it."""
_CATALOGUE: Final = ("duckdb_", "pragma_", "read_", "parquet_", "icu_")
_OTHER_FUNCTIONS: Final = frozenset({"glob", "sniff_csv", "test_all_types", "test_vector_types", "pg_timezone_names"})
_FORMS: Final = "SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW, or EXPLAIN of one of them"


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query as texts.

    Attributes:
        columns: Their names, each once.
        kinds: Their types.
        rows: The first rows: for JSON what `sql_values.to_json` takes, else the engine's texts.
        total: How many rows there are.
        is_plan: True of an EXPLAIN, whose texts are drawings.
    """

    columns: list[str]
    kinds: list[DuckDBPyType]
    rows: list[list[Any]]
    total: int
    is_plan: bool = False


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """A database with a view for each table of the lake, as of now; close it after use.

    A table that is damaged or breaks the contract has no view: it is in nobody's way who does not ask for it.

    Raises:
        StorageError: The lake cannot be listed.
    """
    connection = connect_engine()
    try:
        for table in lake.tables():
            with suppress(TallyError, duckdb.Error):
                _create_view(connection, lake, table)
    except BaseException:
        connection.close()
        raise
    return connection


def _create_view(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str) -> list[str]:
    """Makes the view of a table; gives the files that it reads."""
    handle = lake.look(table)
    files = lake.files(table, version=handle.version())
    with storage_errors(f"reading {lake.uri(table)}"):
        connection.execute(f"CREATE VIEW {quoted(table)} AS {scan(connection, lake, handle, files)}")
    return [file.path for file in files]


def query(lake: Lake, sql: str) -> pa.Table:
    """The result of one SQL statement over the lake's tables, which only reads, and only the tables that it names.

    Raises:
        UsageError: The statement fails; says which tables there are. Or it is none, or more than one, or would write.
        IntegrityError: A file of a table that it names is damaged or gone.
        TableContractError: A table that it names breaks the contract.
        StorageError: One that cannot be read.
    """
    with _opened(lake, sql) as (connection, text):
        return run(connection, lambda: _table(connection, text), "the query")


def _table(connection: duckdb.DuckDBPyConnection, text: str) -> pa.Table:
    relation = connection.sql(text)
    if relation is None:
        return pa.table({})
    table = relation.to_arrow_table()
    return table.rename_columns(_distinct(table.column_names))


def ask(lake: Lake, sql: str, *, limit: int, as_json: bool, spill: Path | None = None) -> Answer:
    """As `query`, with every value as a text that can be read back.

    Args:
        lake: The tables.
        sql: The statement.
        limit: So many rows are kept; the others are counted.
        as_json: Whether the values are for JSON, else for a table.
        spill: Where intermediate results go that do not fit into memory.

    Raises:
        TallyError: As `query`.
    """
    with _opened(lake, sql, spill) as (connection, text):
        return run(connection, lambda: _answered(connection, text, limit, as_json=as_json), "the query")


def _answered(connection: duckdb.DuckDBPyConnection, text: str, limit: int, *, as_json: bool) -> Answer:
    relation = connection.sql(text)
    if relation is None:
        return Answer([], [], [], 0)
    kinds = list(relation.types)
    expression = json_expression if as_json else cell_expression
    # The names are ours: two columns may have one.
    texts = ", ".join(f"{expression(f'#{place + 1}', kind)} AS c{place}" for place, kind in enumerate(kinds))
    rows: list[list[Any]] = []
    total = 0
    for batch in relation.project(texts).to_arrow_reader(_BATCH):
        kept = batch.slice(0, max(0, limit - total)).columns
        total += batch.num_rows
        columns = [column.to_pylist() for column in kept]
        if as_json:
            columns = [[json_value(one, kind) for one in column] for column, kind in zip(columns, kinds, strict=True)]
        rows += map(list, zip(*columns, strict=True))
    return Answer(_distinct(relation.columns), kinds, rows, total, is_plan=explained(text) is not None)


@contextmanager
def _opened(lake: Lake, sql: str, spill: Path | None = None) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A locked engine with the tables that a text names, and the text as it may run.

    Raises:
        TallyError: As `query`; also for what fails in the block.
    """
    tables = lake.tables()
    with connect_engine() as parser:
        lock(parser)
        reading = _reading(parser, sql, tables)
    named = {name.lower() for name in reading.tables}
    wanted = [table for table in tables if table.lower() in named]
    with connect_engine(None if reading.is_hidden else spill) as connection:
        try:
            files = _views(connection, lake, wanted, tables if reading.shows or not wanted else (), reading)
            if reading.is_hidden:
                connection.execute("SET temp_directory = ''")
            lock(connection, files)
            yield connection, reading.text
        except duckdb.Error as error:
            raise _failed(lake, tables, wanted, error) from error


def _views(
    connection: duckdb.DuckDBPyConnection, lake: Lake, wanted: Sequence[str], others: Sequence[str], reading: _Reading
) -> list[str]:
    """Makes the views of the tables that are asked for, and of others where they can be made; gives their files."""
    if reading.is_hidden:
        for table in wanted:
            handle = lake.look(table)
            files = lake.files(table, version=handle.version())
            connection.register(table, remote_dataset(handle, files, lake.options))
        return []
    paths = [path for table in wanted for path in _create_view(connection, lake, table)]
    if not reading.asks:
        return paths if is_disk(lake.root) else []
    for table in others:
        if table not in wanted:
            with suppress(TallyError, duckdb.Error):
                paths += _create_view(connection, lake, table)
    return paths if is_disk(lake.root) else []


def _failed(lake: Lake, tables: Sequence[str], wanted: Sequence[str], error: duckdb.Error) -> TallyError:
    """The error about a query that failed: about a damaged table that it names, or about itself."""
    for table in wanted:
        damage = unreadable_file(lake, table)
        if damage is not None:
            return damage
    if isinstance(error, duckdb.OutOfMemoryException):
        return out_of_memory("the query", error)
    return UsageError(
        f"the query fails: {_said(error, tables)}",
        expected=f"SQL over {', '.join(tables) or 'tables; there are none yet'}",
    )


def _said(error: duckdb.Error, tables: Sequence[str]) -> str:
    """DuckDB's words; for a table that there is not, a name of the lake instead of one of DuckDB's own."""
    unknown = _NO_TABLE.search(str(error))
    if unknown is not None:
        return f"there is no table {unknown[1]}{did_you_mean(unknown[1], tables)}"
    return " ".join(str(error).split())[:600]


def _distinct(names: Sequence[str]) -> list[str]:
    """Numbers names that are equal, so that no column is lost where rows become dictionaries."""
    found: list[str] = []
    for name in names:
        number, new = 0, name
        while new in found:
            number += 1
            new = f"{name}_{number}"
        found.append(new)
    return found


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is known of a statement before it runs.

    Attributes:
        text: As it will run.
        tables: The relations that it names.
        asks: True when it may ask about tables that it does not name.
        shows: True when it asks about all of them.
        is_hidden: True of a PIVOT, of which the parser shows no tree.
    """

    text: str
    tables: frozenset[str]
    asks: bool = False
    shows: bool = False
    is_hidden: bool = False


def _reading(parser: duckdb.DuckDBPyConnection, sql: str, tables: Sequence[str]) -> _Reading:
    """Looks at a statement by the engine's own parser.

    Raises:
        UsageError: It is none, more than one, or would do more than read.
    """
    try:
        kind, text, head = statement_kind(parser, sql), without_semicolon(sql), ""
        if kind == "EXPLAIN" and (parts := explained(sql)) is not None:
            head, text = parts
            kind = statement_kind(parser, text)
        if kind == "MULTI":
            return _pivot(head, text)
        if kind != "SELECT":
            raise NotOneSelectError(f"it is {kind}")
        found = parse_tree(parser, text)
    except NotOneSelectError as error:
        if error.syntax:
            known = ", ".join(tables) or "tables; there are none yet"
            raise UsageError(f"the query fails: {error.found}", expected=f"{_FORMS}; over {known}") from error
        raise UsageError(
            f"the query would do more than read, or is none: {error.found}", expected=f"one statement: {_FORMS}"
        ) from error
    for call in found.table_calls:
        if not (call.name in READING_FUNCTIONS or call.name in _OTHER_FUNCTIONS or call.name.startswith(_CATALOGUE)):
            raise UsageError(
                f"the query would do more than read: {call.name}()",
                expected=f"functions that make rows, such as {', '.join(sorted(READING_FUNCTIONS)[:6])}",
            )
    if by_path := parquet_by_path(found):
        raise UsageError(
            f"the query reads a file by its path: {', '.join(by_path)}", expected="tables of the lake by their names"
        )
    about = any(call.name.startswith(("duckdb_", "pragma_")) for call in found.table_calls)
    return _Reading(head + text, frozenset(found.tables), asks=bool(found.tables) or about or found.shows, shows=about)


def _pivot(head: str, text: str) -> _Reading:
    """A PIVOT, which the engine rewrites before it has a tree: it gets an engine that reaches no file at all."""
    found = tokens(text)
    words = {token.text.decode().lower() for token in found if token.kind == "keyword"}
    if words & _WRITING:
        raise UsageError(
            f"the query would do more than read: {', '.join(sorted(words & _WRITING)).upper()}",
            expected=f"one statement: {_FORMS}",
            remedy=f"put {', '.join(sorted(words & _WRITING))} into double quotes where it is a column",
        )
    return _Reading(head + text, frozenset(token.text.decode().strip('"') for token in found), is_hidden=True)


def scan(connection: duckdb.DuckDBPyConnection, lake: Lake, table: DeltaTable, files: Sequence[DataFile]) -> str:
    """A SELECT of the table's columns, in its order, from some of its files.

    Columns that none of the files has yet are null, as the table's schema says. Files on an object store are read by
    Arrow (DuckDB's own reader would have to be downloaded), which is told what DuckDB wants of them; and so are files
    in a lake below a folder named `key=value`, which DuckDB would take for a column.
    """
    schema = pa.schema(table.schema().to_arrow())
    if not files:
        nothing = ", ".join(_null(column) for column in schema)
        return f"SELECT {nothing} WHERE false"
    if not is_disk(lake.root) or _has_other_keys(table, files):
        name = f"files_{uuid.uuid4().hex}"
        connection.register(name, remote_dataset(table, files, lake.options))
        return f"SELECT * FROM {quoted(name)}"
    source = _parquet(table, schema, [file.path for file in files])
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    stored = {row[0] for row in described}
    partitions = table.metadata().partition_columns
    columns = [
        _HOUR if column.name == HOUR_COLUMN and column.name in partitions
        else quoted(column.name) if column.name in stored else _null(column)
        for column in schema
    ]  # fmt: skip
    return f"SELECT {', '.join(columns)} FROM {source}"


def _has_other_keys(table: DeltaTable, files: Sequence[DataFile]) -> bool:
    """True where a folder that is no partition of the table may be taken for one."""
    return any(file.path.count("=") != len(table.metadata().partition_columns) for file in files)


def _parquet(table: DeltaTable, schema: pa.Schema, files: Sequence[str]) -> str:
    partitions = table.metadata().partition_columns
    if not partitions:
        return parquet_rows(files, "hive_partitioning = false")
    # An hour is a text in a folder's name, in a form for each writer.
    kinds = {name: "VARCHAR" if name == HOUR_COLUMN else _sql(schema.field(name)) for name in partitions}
    types = ", ".join(f"{quoted(name)}: {text_literal(kind)}" for name, kind in kinds.items())
    return parquet_rows(files, "hive_partitioning = true", f"hive_types = {{{types}}}")


def _null(column: pa.Field) -> str:
    return f"CAST(NULL AS {_sql(column)}) AS {quoted(column.name)}"


def _sql(column: pa.Field) -> str:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    if pa.types.is_list(kind):
        return f"{sql_name(kind.value_type)}[]"
    return "BLOB" if pa.types.is_binary(kind) else sql_name(kind)
