"""Conversions of rows to Arrow columns and back, and slices: the rows where some columns have given values.

Columns are made by their buffers, because pyarrow's own conversions import pandas (a second). The types are those of
small tables: dates, UTC instants in microseconds, numbers, truth values, texts, lists of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import number_array
from tallywright.errors import TableContractError
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, Hour, columns_of, with_hour

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Value = date | str | int | bool
"""A date may be an hour (`score_period`), which is two columns of a table."""
Filter = Mapping[str, Value | None]
"""The values that rows must have, by column; None selects the rows that have none."""
MAX_TEXT: Final = 64
"""Longer texts get no minimum and maximum: they would only bloat the log."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = number_array(np.array([1], dtype=np.int64), pa.duration("ms"))[0]
_NATURAL: Final = {
    bool: pa.bool_(),
    int: pa.int64(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
}


def literal(value: Value) -> str:
    """A value as a SQL literal; text is quoted, never trusted.

    Raises:
        TableContractError: A type (such as float) that makes no exact comparison.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + str(value).replace("'", "''") + "'"
    raise TableContractError(
        f"{value!r} cannot select rows", expected="a date, an instant, a text, an integer or a truth value"
    )


def predicate(where: Mapping[str, Value]) -> str:
    """The SQL condition that selects the slice."""
    return " AND ".join(f"{quoted(name)} = {literal(value)}" for name, value in columns_of(where).items())


def quoted(name: str) -> str:
    """A column or relation name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def keep(table: pa.Table, where: Filter) -> pa.Table:
    """The rows that the filter selects."""
    for name, value in columns_of(where).items():
        column = table[name]
        table = table.filter(pc.is_null(column) if value is None else _equal(column, value))
    return table


def candidates(actions: pa.Table, where: Filter) -> pa.Table:
    """The files (rows of flattened add actions) that may hold such rows, by partition value or statistics."""
    for name, value in columns_of(where).items():
        if value is None:
            continue
        if f"partition.{name}" in actions.column_names:
            actions = actions.filter(_equal(actions[f"partition.{name}"], value))
        elif f"min.{name}" in actions.column_names and not isinstance(value, bool):
            actions = actions.filter(_within(actions[f"min.{name}"], actions[f"max.{name}"], value))
    return actions


def _equal(column: pa.ChunkedArray, value: Value) -> pa.ChunkedArray:
    return pc.equal(column, scalar_of(value, column.type))


def _within(low: pa.ChunkedArray, high: pa.ChunkedArray, value: Value) -> pa.ChunkedArray:
    """A mask of the files whose bounds include the value (shortened texts are still bounds), or that have none."""
    probe = scalar_of(value, low.type)
    if pa.types.is_timestamp(high.type):
        # writers round instants in statistics to milliseconds, down too
        high = pc.add(high, _MILLISECOND)
    inside = pc.and_(pc.less_equal(low, probe), pc.greater_equal(high, probe))
    return pc.fill_null(inside, fill_value=scalar_of(True, pa.bool_()))


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as a table of `schema`; what a row lacks is null, what the schema lacks is left out."""
    if HOUR_COLUMN in schema.names:
        rows = [columns_of(row) for row in rows]
    columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The table's rows; instants are UTC, and the two columns of an hour are one value, under `score_date`."""
    columns = {field.name: _values(table[field.name], field.type) for field in table.schema}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [with_hour(row) for row in rows] if columns.keys() >= {DATE_COLUMN, HOUR_COLUMN} else rows


def scalar_of(value: Any, kind: pa.DataType) -> pa.Scalar:
    """The value as a scalar of that type.

    Raises:
        pyarrow.ArrowException: It cannot be one.
    """
    natural = pa.string() if isinstance(value, str) else _NATURAL.get(date if isinstance(value, Hour) else type(value))
    return pa.scalar(value, kind) if natural is None else _scalar_of(value, natural, kind)


@lru_cache(maxsize=1024)  # a day's reads ask for the same date some hundred times
def _scalar_of(value: Any, natural: pa.DataType, kind: pa.DataType) -> pa.Scalar:
    return _column([value], natural).cast(kind)[0]


def constant(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    """An array of `rows` times the same value."""
    if isinstance(value, str):
        return _repeated(value.encode(), rows).cast(kind)
    if isinstance(value, datetime):
        return number_array(np.full(rows, _microseconds(value), dtype=np.int64), kind)
    if isinstance(value, date):
        return number_array(np.full(rows, _days(value), dtype=np.int32), kind)
    dtype = np.float64 if isinstance(value, float) else np.int64
    wide = pa.float64() if isinstance(value, float) else pa.int64()
    return number_array(np.full(rows, value, dtype=dtype), wide).cast(kind)


def _repeated(value: bytes, rows: int) -> pa.Array:
    """Repeats a text as bytes: a Python object for every row would cost more than scoring it."""
    offsets = np.arange(rows + 1, dtype=np.int64) * len(value)
    return pa.Array.from_buffers(pa.large_string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(value * rows)])


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    known = np.array([value is not None for value in values], dtype=np.bool_)
    valid = None if known.all() else _bits(known)
    if pa.types.is_list(kind):
        items = [tuple(value or ()) for value in values]
        inner = _column(list(chain.from_iterable(items)), kind.value_type)
        offsets = _offsets([len(item) for item in items])
        return pa.Array.from_buffers(kind, len(values), [valid, offsets], children=[inner])
    if pa.types.is_string(kind):
        encoded = [b"" if value is None else str(value).encode() for value in values]
        data = pa.py_buffer(b"".join(encoded))
        return pa.Array.from_buffers(kind, len(values), [valid, _offsets([len(text) for text in encoded]), data])
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(
            kind, len(values), [valid, _bits(np.array([bool(value) for value in values], dtype=np.bool_))]
        )
    convert, dtype = _plan(kind)
    numbers = np.array([0 if value is None else convert(value) for value in values], dtype=dtype)
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers)])


def _plan(kind: pa.DataType) -> tuple[Callable[[Any], Any], str]:
    """The conversion of a value to the number that its column stores, and the dtype of that number."""
    if kind == pa.date32():
        return _days, "int32"
    if kind == pa.timestamp("us", "UTC"):
        return _microseconds, "int64"
    if pa.types.is_floating(kind):
        return float, "float64"
    return int, str(kind)


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    if not pa.types.is_timestamp(kind):
        values: list[Any] = column.to_pylist()
        return values
    instants = (chunk.view(pa.int64()).to_pylist() for chunk in column.cast(pa.timestamp("us", "UTC")).chunks)
    return [None if one is None else _EPOCH + one * _MICROSECOND for one in chain.from_iterable(instants)]


def _microseconds(instant: datetime) -> int:
    """Microseconds since the epoch; an instant without a zone is UTC, as everywhere in the tables."""
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return (aware - _EPOCH) // _MICROSECOND


def _days(day: date) -> int:
    return day.toordinal() - _EPOCH.toordinal()


def _bits(values: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _offsets(lengths: Sequence[int]) -> pa.Buffer:
    return pa.py_buffer(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32))


def written_order(row: Mapping[str, Any]) -> tuple[bool, int, datetime]:
    """The place of a row with a `sequence` in the order of writing; rows of the time before come first, by clock."""
    sequence = row.get("sequence")
    return sequence is not None, sequence or 0, row["recorded_at"]
