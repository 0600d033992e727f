"""Fits Arrow tables to Delta tables: plain types, UTC timestamps, columns that are added but never change type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.rows import MAX_TEXT, constant, scalar_of
from tallywright.errors import TableContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.rows import Value


def plain(table: pa.Table) -> pa.Table:
    """The same rows in the types that Delta stores: no dictionaries, no large or view types, UTC microseconds.

    Raises:
        TableContractError: A timestamp without a zone, or a column without a type.
    """
    return table.cast(pa.schema([pa.field(column.name, _plain_type(column)) for column in table.schema]))


def _plain_type(column: pa.Field) -> pa.DataType:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_type(pa.field(column.name, kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_large_list(kind):
        return pa.list_(kind.value_type)
    if pa.types.is_null(kind):
        raise TableContractError(f"column {column.name} has no type", expected="typed columns, also when all are null")
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise TableContractError(
                f"column {column.name} is a timestamp without a zone", expected="timestamp[us, UTC]"
            )
        return pa.timestamp("us", "UTC")
    return kind


def long_texts(table: pa.Table) -> list[str]:
    """The columns of texts that get no minimum and maximum."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    longest = {name: pc.max(pc.binary_length(table[name])).as_py() for name in texts}
    return [name for name, length in longest.items() if length is not None and length > MAX_TEXT]


def fitted(table: pa.Table, target: pa.Schema, slices: Sequence[Mapping[str, Value]], uri: str) -> pa.Table:
    """The rows with the target's columns first, in its order; columns that only the target has are null.

    Raises:
        TableContractError: Rows outside the slices, or a column whose type is not the table's.
    """
    _require_slices(table, slices, uri)
    columns: dict[str, pa.ChunkedArray] = {}
    for column in target:
        if column.name not in table.column_names:
            columns[column.name] = pa.chunked_array([pa.nulls(table.num_rows, column.type)])
            continue
        found = table.schema.field(column.name).type
        if found != column.type:
            raise TableContractError(
                f"{uri}: column {column.name} would change from {column.type} to {found}",
                expected="columns that keep their type for ever",
                remedy="give the changed column a new name",
            )
        columns[column.name] = table[column.name]
    new = {name: table[name] for name in table.column_names if name not in columns}
    return pa.table(columns | new)


def _require_slices(table: pa.Table, slices: Sequence[Mapping[str, Value]], uri: str) -> None:
    inside = constant(False, pa.bool_(), table.num_rows)
    for where in slices:
        if not where:
            raise TableContractError(f"{uri}: no slice to replace", expected="at least one column value")
        inside = pc.or_(inside, _in_slice(table, where, uri))
    if not pc.all(inside, skip_nulls=False, min_count=0).as_py():
        named = " or ".join(", ".join(f"{name} = {value}" for name, value in where.items()) for where in slices[:3])
        raise TableContractError(f"{uri}: some rows are not in the slice {named}, which they would replace")


def _in_slice(table: pa.Table, where: Mapping[str, Value], uri: str) -> pa.ChunkedArray:
    inside = constant(True, pa.bool_(), table.num_rows)
    for name, value in where.items():
        if name not in table.column_names:
            raise TableContractError(f"{uri}: the rows have no column {name}, by which they are replaced")
        column = table[name]
        equal = pc.equal(column, scalar_of(value, column.type))
        inside = pc.and_(inside, pc.fill_null(equal, scalar_of(False, pa.bool_())))
    return inside


def as_utc(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in the given schema; SQL's timestamps without a zone are UTC by contract, and end at the microsecond."""
    table = table.select(schema.names)
    for place, found in enumerate(table.schema):
        if pa.types.is_timestamp(found.type) and found.type.unit == "ns":
            cut = pc.floor_temporal(table[found.name], unit="microsecond")
            table = table.set_column(place, found.name, cut.cast(pa.timestamp("us", found.type.tz)))
    return table.cast(schema)


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The table's schema as Arrow has it."""
    return pa.schema(table.schema().to_arrow()).remove_metadata()
