"""SQL over all tables of the lake by name: one DuckDB view a Delta table, over exactly its current files."""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

import re
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

from tallywright.data.delta.rows import quoted
from tallywright.data.delta.standing import unreadable_file
from tallywright.data.embedded_sql import connect as connect_engine
from tallywright.data.embedded_sql import text_literal
from tallywright.data.remote_dataset import remote_dataset
from tallywright.data.storage.filesystem import is_disk, storage_errors
from tallywright.data.types import sql_name
from tallywright.errors import UsageError, did_you_mean
from tallywright.score_period import HOUR_COLUMN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile
    from tallywright.data.delta.lake import Lake

_READING: Final = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI})
"""Statements that may read; MULTI is a PIVOT."""
_HOUR: Final = (
    f"CAST(coalesce(try_strptime({HOUR_COLUMN}, '%Y%m%dT%H%MZ'), TRY_CAST(url_decode({HOUR_COLUMN}) AS TIMESTAMP)) "
    f"AS TIMESTAMPTZ) AS {HOUR_COLUMN}"
)
_NO_TABLE: Final = re.compile(r"Table with name (.+?) does not exist!")
_WRITING: Final = frozenset({"attach", "copy", "export"})
"""What writes files even inside a WITH or behind EXPLAIN ANALYZE; anything else could only change the views."""


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """A database with a view for each table of the lake, as of now; close it after use.

    A table with a damaged file has no view, so that it is in nobody's way who does not ask for it.

    Raises:
        StorageError: A table that cannot be read.
        TableContractError: A table that breaks the contract.
    """
    connection = connect_engine()
    try:
        for table in lake.tables():
            handle = lake.look(table)
            files = lake.files(table, version=handle.version())
            with storage_errors(f"reading {lake.uri(table)}"), suppress(duckdb.Error):
                connection.execute(f"CREATE VIEW {quoted(table)} AS {scan(connection, lake, handle, files)}")
    except BaseException:
        connection.close()
        raise
    return connection


def query(lake: Lake, sql: str) -> pa.Table:
    """The result of one SQL statement over the lake's tables, which only reads, and only the lake: no other file.

    Raises:
        UsageError: The statement fails; says which tables there are. Or it is none, or more than one, or would write.
        IntegrityError: A file of a table that it names is damaged or gone.
    """
    connection = connect(lake)
    try:
        _require_reading(sql)
        _restrict(connection, lake)
        relation = connection.sql(sql)
        return _distinct_names(relation.to_arrow_table()) if relation is not None else pa.table({})
    except duckdb.Error as error:
        for table in lake.tables():
            damage = unreadable_file(lake, table) if table in sql else None
            if damage is not None:
                raise damage from error
        raise UsageError(
            f"the query fails: {_said(error, lake.tables())}",
            expected=f"SQL over {', '.join(lake.tables()) or 'tables; there are none yet'}",
        ) from error
    finally:
        connection.close()


def _said(error: duckdb.Error, tables: Sequence[str]) -> str:
    """DuckDB's words; for a table that there is not, a name of the lake instead of one of DuckDB's own."""
    unknown = _NO_TABLE.search(str(error))
    if unknown is not None:
        return f"there is no table {unknown[1]}{did_you_mean(unknown[1], tables)}"
    return " ".join(str(error).split())[:600]


def _restrict(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """From here on the connection reads the lake's files and no others."""
    folder = text_literal(f"{lake.root}/") if is_disk(lake.root) else ""
    connection.execute(f"SET allowed_directories = [{folder}]")
    connection.execute("SET enable_external_access = false")


def _distinct_names(table: pa.Table) -> pa.Table:
    """Numbers columns of equal names, so that none is lost where rows become dictionaries."""
    names: list[str] = []
    for name in table.column_names:
        number, new = 0, name
        while new in names:
            number += 1
            new = f"{name}_{number}"
        names.append(new)
    return table.rename_columns(names)


def _require_reading(sql: str) -> None:
    statements = duckdb.extract_statements(sql)
    words = {
        re.split(r"\W", sql[start:], maxsplit=1)[0].lower()
        for start, kind in duckdb.tokenize(sql)
        if kind == duckdb.token_type.keyword
    }
    if len(statements) != 1:
        raise UsageError(f"the query has {len(statements)} statements", expected="one")
    if statements[0].type not in _READING or words & _WRITING:
        raise UsageError(
            "the query would do more than read",
            expected="SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN",
            remedy=f"put the names {', '.join(sorted(_WRITING))} into double quotes where they are columns",
        )


def scan(connection: duckdb.DuckDBPyConnection, lake: Lake, table: DeltaTable, files: Sequence[DataFile]) -> str:
    """A SELECT of the table's columns, in its order, from some of its files.

    Columns that none of the files has yet are null, as the table's schema says. Files on an object store are read by
    Arrow (DuckDB's own reader would have to be downloaded), which is told what DuckDB wants of them.
    """
    schema = pa.schema(table.schema().to_arrow())
    if not files:
        nothing = ", ".join(_null(column) for column in schema)
        return f"SELECT {nothing} WHERE false"
    if not is_disk(lake.root):
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


def _parquet(table: DeltaTable, schema: pa.Schema, files: Sequence[str]) -> str:
    listed = ", ".join(text_literal(file) for file in files)
    partitions = table.metadata().partition_columns
    if not partitions:
        return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    # An hour is a text in a folder's name, in a form for each writer.
    kinds = {name: "VARCHAR" if name == HOUR_COLUMN else _sql(schema.field(name)) for name in partitions}
    types = ", ".join(f"{quoted(name)}: {text_literal(kind)}" for name, kind in kinds.items())
    hive = f"hive_partitioning = true, hive_types = {{{types}}}"
    return f"read_parquet([{listed}], union_by_name = true, {hive})"


def _null(column: pa.Field) -> str:
    return f"CAST(NULL AS {_sql(column)}) AS {quoted(column.name)}"


def _sql(column: pa.Field) -> str:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    if pa.types.is_list(kind):
        return f"{sql_name(kind.value_type)}[]"
    return "BLOB" if pa.types.is_binary(kind) else sql_name(kind)
