"""Conversions between Arrow arrays and numpy without a copy and without pandas, which pyarrow's own ones import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def values_of(array: pa.Array) -> NDArray[Any]:
    """The values of a fixed-width numeric array; values of null slots are undefined."""
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype=_dtype(array.type))
    return np.frombuffer(data, dtype=_dtype(array.type), count=array.offset + len(array))[array.offset :]


def floats_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The values of a column without nulls."""
    chunks = [values_of(chunk) for chunk in column.cast(pa.float64(), safe=False).chunks]
    return np.concatenate([*chunks, np.zeros(0, dtype=np.float64)])


def valid_mask(array: pa.Array) -> NDArray[np.bool_]:
    """A mask that is True where the array has a value."""
    bits = array.buffers()[0]
    if array.null_count == 0 or bits is None:
        # A null array has no bitmap and no values.
        return np.full(len(array), array.null_count == 0)
    return _bits(bits, array.offset, len(array))


def to_float32(array: pa.Array, out: NDArray[np.float32]) -> None:
    """Writes a numeric or boolean array into `out`: nearest float32, null as NaN, too large as infinite."""
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    if pa.types.is_boolean(array.type):
        data = array.buffers()[1]
        out[:] = _bits(data, array.offset, len(array)) if data is not None else 0
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            out[:] = values_of(array)
    if array.null_count:
        out[~valid_mask(array)] = np.nan


def number_array(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array without nulls over the numpy values, not copied; the dtype must be that of `kind`."""
    return pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(np.ascontiguousarray(values))])


def string_array(values: Sequence[str]) -> pa.Array:
    """A large_string array of the texts."""
    encoded = [value.encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in encoded])]).astype(np.int64)
    return pa.Array.from_buffers(
        pa.large_string(), len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def _bits(data: pa.Buffer, offset: int, length: int) -> NDArray[np.bool_]:
    first = offset // 8
    octets = np.frombuffer(data, dtype=np.uint8)[first : (offset + length + 7) // 8]
    return np.unpackbits(octets, bitorder="little")[offset - 8 * first :][:length].view(np.bool_)


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    # `to_pandas_dtype` would import pandas.
    name = str(kind)
    return np.dtype(_FLOATS.get(name, name))
