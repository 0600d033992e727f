"""Slices: the rows of a table where some columns have given values, as SQL predicates and as file pruning."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.rows import scalar_of
from tallywright.errors import TableContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = date | str | int | bool


def literal(value: Value) -> str:
    """A value as a SQL literal; text is quoted, never trusted.

    Raises:
        TableContractError: A type (such as float or datetime) that makes no exact comparison.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, date) and not isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + str(value).replace("'", "''") + "'"
    raise TableContractError(f"{value!r} cannot select rows", expected="a date, a text, an integer or a truth value")


def predicate(where: Mapping[str, Value]) -> str:
    """The SQL condition that selects the slice."""
    return " AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in where.items())


def quoted(name: str) -> str:
    """A column or relation name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def keep(table: pa.Table, where: Mapping[str, Value]) -> pa.Table:
    """The rows of the slice."""
    for name, value in where.items():
        mask = pc.equal(table[name], scalar_of(value, table.schema.field(name).type))
        table = table.filter(mask)
    return table


def candidates(actions: pa.Table, where: Mapping[str, Value]) -> pa.Table:
    """The files (rows of flattened add actions) that may hold rows of the slice, by partition value or statistics."""
    for name, value in where.items():
        if f"partition.{name}" in actions.column_names:
            actions = actions.filter(_equal(actions[f"partition.{name}"], value))
        elif f"min.{name}" in actions.column_names and not isinstance(value, bool):
            actions = actions.filter(_within(actions[f"min.{name}"], actions[f"max.{name}"], value))
    return actions


def _equal(column: pa.ChunkedArray, value: Value) -> pa.ChunkedArray:
    return pc.equal(column, scalar_of(value, column.type))


def _within(low: pa.ChunkedArray, high: pa.ChunkedArray, value: Value) -> pa.ChunkedArray:
    """Whether the value lies within the file's bounds (shortened texts are still bounds); without bounds it may."""
    probe = scalar_of(value, low.type)
    inside = pc.and_(pc.less_equal(low, probe), pc.greater_equal(high, probe))
    return pc.fill_null(inside, fill_value=scalar_of(True, pa.bool_()))
