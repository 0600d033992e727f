"""Preprocessing: from an Arrow batch to the model's matrices; fitted at training, kept as data, vectorised.

Scoring a day calls this for every batch, so nothing here loops over rows, and nothing calls the parts of pyarrow that
import pandas (`pa.array`, `pa.scalar`, `to_numpy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import string_array, to_float32, valid_mask, values_of
from tallywright.errors import InputError
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Null and unseen have codes of their own, so that an embedding has a row for each and no value is refused.
NULL_CODE = 0
UNSEEN_CODE = 1
FIRST_CODE = 2


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Inputs of the ONNX graph: `numeric` float32 [rows, columns], null as NaN; `categorical` int64 [rows, columns].

    Both are column-major: a column is contiguous, which is what filling and profiling want.
    """

    numeric: NDArray[np.float32]
    categorical: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.numeric.shape[0])

    def take(self, rows: NDArray[np.intp] | slice) -> ModelInput:
        """Some of the rows, in the order asked for."""
        return ModelInput(self.numeric[rows], self.categorical[rows])


class Category(Record):
    """A categorical column and its known values; value i has the code i + 2, 0 is null, 1 is anything else."""

    column: str
    categories: tuple[str, ...]

    @cached_property
    def _values(self) -> pa.Array:
        return string_array(self.categories)

    def codes(self, array: pa.Array, out: NDArray[np.int64]) -> None:
        """Writes the codes of a string, integer or boolean array (dictionary-encoded or not) into `out`."""
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        # Categories are looked up once a distinct value, not once a row; rows then take the code of their index.
        values = array.dictionary.cast(pa.large_string())
        if len(values) == 0:
            out[:] = NULL_CODE
            return
        found = pc.index_in(values, value_set=self._values)
        lookup = values_of(found).astype(np.int64) + FIRST_CODE
        lookup[~valid_mask(found)] = UNSEEN_CODE
        lookup[~valid_mask(values)] = NULL_CODE
        # In the mode `raise` numpy would fill a copy of `out`; what stands at a null is clipped, and then overwritten.
        np.take(lookup, values_of(array.indices), out=out, mode="clip")
        if array.indices.null_count:
            out[~valid_mask(array.indices)] = NULL_CODE


class Preprocess(Record):
    """The fitted input side of a model: which columns, in which order, with which categories."""

    numeric: tuple[str, ...]
    categorical: tuple[Category, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns read, numeric first."""
        return (*self.numeric, *(category.column for category in self.categorical))

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Column to its categories, in code order."""
        return {category.column: category.categories for category in self.categorical}

    def transform(self, batch: pa.RecordBatch) -> ModelInput:
        """The model's matrices of a batch; equal values give equal bits, however the columns are encoded.

        Raises:
            InputError: A column is missing or has a type that cannot be read as asked.
        """
        numeric = np.empty((len(self.numeric), batch.num_rows), dtype=np.float32)
        categorical = np.empty((len(self.categorical), batch.num_rows), dtype=np.int64)
        for row, name in zip(numeric, self.numeric, strict=True):
            array = _column(batch, name)
            if not _is_number(array.type):
                raise _mistyped(name, array.type, "a number (integer, floating point, decimal or boolean)")
            to_float32(array, row)
        for codes, category in zip(categorical, self.categorical, strict=True):
            array = _column(batch, category.column)
            if not _is_category(array.type):
                raise _mistyped(category.column, array.type, "text, an integer or a boolean")
            category.codes(array, codes)
        return ModelInput(numeric.T, categorical.T)


def fit_preprocess(
    table: pa.Table, numeric: Sequence[str], categorical: Sequence[str], min_category_rows: int
) -> Preprocess:
    """Learns the categories: the values of each column that stand in at least `min_category_rows` rows, sorted.

    Raises:
        InputError: A column is missing or has an unusable type.
    """
    names = [name for name in table.column_names if name in {*numeric, *categorical}]
    batch = pa.RecordBatch.from_arrays([table.column(name).combine_chunks() for name in names], names=names)
    for name in numeric:
        if not _is_number(_column(batch, name).type):
            raise _mistyped(name, _column(batch, name).type, "a number (integer, floating point, decimal or boolean)")
    return Preprocess(
        numeric=tuple(numeric),
        categorical=tuple(
            Category(column=name, categories=_frequent(batch, name, min_category_rows)) for name in categorical
        ),
    )


def _frequent(batch: pa.RecordBatch, name: str, least: int) -> tuple[str, ...]:
    array = _column(batch, name)
    if not _is_category(array.type):
        raise _mistyped(name, array.type, "text, an integer or a boolean")
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    counted = pc.value_counts(array.cast(pa.large_string()).drop_null())
    values, counts = counted.field("values").to_pylist(), values_of(counted.field("counts"))
    return tuple(sorted(value for value, count in zip(values, counts, strict=True) if count >= least))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    found = batch.schema.get_all_field_indices(name)
    if len(found) != 1:
        raise InputError(
            f"the input has {'no' if not found else len(found)} column{'' if len(found) < 2 else 's'} {name!r}",  # noqa: PLR2004
            expected=f"one column of that name; found {', '.join(batch.schema.names) or 'none'}",
            remedy="score with the feature table the model was trained for, or retrain it on this one",
        )
    return batch.column(found[0])


def _mistyped(name: str, found: pa.DataType, expected: str) -> InputError:
    return InputError(
        f"column {name!r} has the type {found}",
        expected=expected,
        remedy="correct the column's type in data.columns and the feature SQL, and ingest the day again",
    )


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _is_category(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_integer,
        pa.types.is_boolean,
    )
    return any(test(value) for test in tests)
