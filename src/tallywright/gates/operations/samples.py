"""Batches that a package must be able to score, made from its own sample and schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array, string_array
from tallywright.packaging.preprocess import NULL_CODE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.packaging.package import Package
    from tallywright.packaging.preprocess import ModelInput

_ROWS: Final = 64


def as_batch(package: Package, inputs: ModelInput) -> pa.RecordBatch:
    """Rows from which the package's preprocessing makes `inputs`: codes become their categories again."""
    preprocess = package.preprocess
    columns = [number_array(inputs.numeric[:, i], pa.float32()) for i in range(len(preprocess.numeric))]
    columns += [
        _texts(inputs.categorical[:, i], category.categories) for i, category in enumerate(preprocess.categorical)
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(preprocess.columns))


def unseen_text(categories: tuple[str, ...]) -> str:
    """A text that is none of the categories."""
    return "?" + "".join(categories)


def of_schema(package: Package) -> pa.RecordBatch:
    """Rows of exactly the types that the package's input schema declares: finite numbers, known categories."""
    categories = package.preprocess.categories
    inputs, _ = package.parity()
    numbers = dict(zip(package.preprocess.numeric, inputs.numeric[:_ROWS].T, strict=True))
    schema = package.input_schema
    columns = [
        _numbers(numbers[field.name], field.type)
        if field.name in numbers
        else _categories(categories[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _numbers(sample: NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        known = np.where(np.isfinite(sample), sample, np.float32(0))
        return pa.array(np.resize(known.astype(np.float64), _ROWS)).cast(kind, safe=False)
    # A decimal may have room for no whole number but 0.
    values = np.arange(_ROWS) % 2 if not pa.types.is_decimal(kind) else np.zeros(_ROWS)
    return pa.array(values).cast(kind)


def _categories(categories: tuple[str, ...], kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(kind):
        return pa.array(np.arange(_ROWS) % 2 == 1)
    values: list[Any] = [categories[i % len(categories)] for i in range(_ROWS)] if categories else [None] * _ROWS
    return pa.array(values, pa.string()).cast(kind)


def _texts(codes: NDArray[np.int64], categories: tuple[str, ...]) -> pa.Array:
    """A dictionary array whose index is the model's code: first null, then a text that is no category, then those."""
    values = string_array(["", unseen_text(categories), *categories])
    valid = np.packbits(np.arange(len(values)) > NULL_CODE, bitorder="little")
    dictionary = pa.Array.from_buffers(values.type, len(values), [pa.py_buffer(valid), *values.buffers()[1:]])
    return pa.DictionaryArray.from_arrays(number_array(codes, pa.int64()), dictionary)
