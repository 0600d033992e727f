"""SQL over all tables of the lake by name: one DuckDB view a Delta table, over exactly its current files."""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from tallywright.data.engine import connect as connect_engine
from tallywright.data.engine import text_literal
from tallywright.data.remote_dataset import remote_dataset
from tallywright.data.slices import quoted
from tallywright.data.storage_errors import storage_errors
from tallywright.data.types import sql_name
from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable

    from tallywright.data.files import DataFile
    from tallywright.data.lake import Lake


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """A database with a view for each table of the lake, as of now; close it after use.

    Raises:
        StorageError: A table that cannot be read.
        TableContractError: A table that breaks the contract.
    """
    connection = connect_engine()
    try:
        for table in lake.tables():
            handle = lake.open(table)
            files = lake.files(table, version=handle.version())
            with storage_errors(f"reading {lake.uri(table)}"):
                connection.execute(f"CREATE VIEW {quoted(table)} AS {scan(connection, lake, handle, files)}")
    except BaseException:
        connection.close()
        raise
    return connection


def query(lake: Lake, sql: str) -> pa.Table:
    """The result of one SQL statement over the lake's tables.

    Raises:
        UsageError: The statement fails; says which tables there are.
    """
    connection = connect(lake)
    try:
        relation = connection.sql(sql)
        return relation.to_arrow_table() if relation is not None else pa.table({})
    except duckdb.Error as error:
        raise UsageError(
            f"the query fails: {' '.join(str(error).split())[:600]}",
            expected=f"SQL over {', '.join(lake.tables()) or 'tables; there are none yet'}",
        ) from error
    finally:
        connection.close()


def scan(connection: duckdb.DuckDBPyConnection, lake: Lake, table: DeltaTable, files: Sequence[DataFile]) -> str:
    """A SELECT of the table's columns, in its order, from some of its files.

    Columns that none of the files has yet are null, as the table's schema says. Files on an object store are read by
    Arrow (DuckDB's own reader would have to be downloaded), which is told what DuckDB wants of them.
    """
    schema = pa.schema(table.schema().to_arrow())
    if not files:
        nothing = ", ".join(_null(column) for column in schema)
        return f"SELECT {nothing} WHERE false"
    if "://" in lake.root:
        name = f"files_{uuid.uuid4().hex}"
        connection.register(name, remote_dataset(table, files, lake.options))
        return f"SELECT * FROM {quoted(name)}"
    source = _parquet(table, schema, [file.path for file in files])
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    stored = {row[0] for row in described}
    columns = [quoted(column.name) if column.name in stored else _null(column) for column in schema]
    return f"SELECT {', '.join(columns)} FROM {source}"


def _parquet(table: DeltaTable, schema: pa.Schema, files: Sequence[str]) -> str:
    listed = ", ".join(text_literal(file) for file in files)
    partitions = table.metadata().partition_columns
    if not partitions:
        return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    types = ", ".join(f"{quoted(name)}: {text_literal(_sql(schema.field(name)))}" for name in partitions)
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
