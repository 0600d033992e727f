"""The safetensors file format, read and written: a JSON header and raw little-endian arrays; nothing executable.

The format is so small that the slim install need not carry the library; a test holds the two against each other.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_TYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "|i1", "U8": "|u1"}
_NAMES: Final = {np.dtype(code): name for name, code in _TYPES.items()}
_ALIGNMENT: Final = 8


def dump_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The file's bytes; equal tensors give equal bytes, whatever their order."""
    header: dict[str, Any] = {}
    blobs: list[bytes] = []
    offset = 0
    # Wider types first keeps every tensor aligned, which the format recommends.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = np.asarray(tensors[name])
        if array.dtype not in _NAMES:
            raise PackageError(f"tensor {name!r} has the type {array.dtype}", expected=", ".join(map(str, _NAMES)))
        blob = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + b"".join(blobs)


def parse_tensors(data: bytes, name: str = "the file") -> dict[str, NDArray[Any]]:
    """The tensors of a file, as read-only views of `data`; errors call it `name`.

    Raises:
        PackageError: The bytes are not a well-formed safetensors file.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        if size > len(data):
            raise ValueError(f"a header of {size} bytes in a file of {len(data)}")
        header: dict[str, Any] = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        body = memoryview(data)[8 + size :]
        return {key: _tensor(entry, body) for key, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PackageError(
            f"{name} is not a safetensors file: {error}", remedy="take the package from the registry again"
        ) from error


def _tensor(entry: Mapping[str, Any], body: memoryview) -> NDArray[Any]:
    dtype = np.dtype(_TYPES[entry["dtype"]])
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not 0 <= start <= end <= len(body) or end - start != dtype.itemsize * math.prod(shape):
        raise ValueError(f"offsets {start}..{end} do not hold {dtype} {shape}")
    return np.frombuffer(body[start:end], dtype=dtype).reshape(shape)
