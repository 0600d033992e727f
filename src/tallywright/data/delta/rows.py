"""A table of one row, built from buffers: pyarrow's own conversions of Python values import pandas (a second)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def one_row(values: Mapping[str, str | float | date | datetime], schema: pa.Schema) -> pa.Table:
    """The values as one row of `schema` (texts, numbers, dates, UTC instants in microseconds; no nulls)."""
    columns = [constant(values[field.name], field.type, 1) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def constant(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    """An array of `rows` times the same value."""
    if isinstance(value, str):
        return _text(value.encode(), rows).cast(kind)
    if isinstance(value, datetime):
        return number_array(np.full(rows, (value - _EPOCH) // timedelta(microseconds=1), dtype=np.int64), kind)
    if isinstance(value, date):
        return number_array(np.full(rows, (value - _EPOCH.date()).days, dtype=np.int32), kind)
    dtype = np.float64 if isinstance(value, float) else np.int64
    wide = pa.float64() if isinstance(value, float) else pa.int64()
    return number_array(np.full(rows, value, dtype=dtype), wide).cast(kind)


def _text(value: bytes, rows: int) -> pa.Array:
    """By repeating bytes: a Python object for every row would cost more than scoring it."""
    offsets = np.arange(rows + 1, dtype=np.int64) * len(value)
    return pa.Array.from_buffers(pa.large_string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(value * rows)])
