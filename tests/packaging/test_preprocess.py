"""Equal values give equal matrices, however Arrow holds them; anything else is refused with a clear word."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.errors import InputError
from tallywright.packaging.preprocess import Category, ModelInput, Preprocess, fit_preprocess

FITTED = Preprocess(numeric=("x",), categorical=(Category(column="k", categories=("", "a", "b", "ü")),))


def _same(one: ModelInput, other: ModelInput) -> None:
    assert one.numeric.tobytes() == other.numeric.tobytes()
    assert one.categorical.tobytes() == other.categorical.tobytes()


def _batch(x: pa.Array, k: pa.Array) -> pa.RecordBatch:
    return pa.record_batch({"x": x, "k": k})


ENCODINGS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "plain": lambda array: array,
    "large": lambda array: array.cast(pa.large_string()),
    "view": lambda array: array.cast(pa.string_view()),
    "dictionary": lambda array: array.dictionary_encode(),
    "dictionary with nulls inside": lambda array: array.dictionary_encode(null_encoding="encode"),
    "narrow dictionary": lambda array: array.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
}


@given(
    st.lists(st.tuples(st.none() | st.floats(width=32), st.none() | st.sampled_from(["", "a", "b", "ü", "c", "d"]))),
    st.integers(0, 9),
)
def test_all_encodings_slices_and_offsets_are_equal(values, offset: int) -> None:
    x = pa.array([value for value, _ in values], pa.float32())
    k = pa.array([value for _, value in values], pa.string())
    whole = FITTED.transform(_batch(x, k))
    codes = {None: 0, "": 2, "a": 3, "b": 4, "ü": 5}
    assert whole.categorical[:, 0].tolist() == [codes.get(value, 1) for _, value in values]
    expected = np.array([np.nan if value is None else value for value, _ in values], dtype=np.float32)
    np.testing.assert_array_equal(whole.numeric[:, 0], expected)
    for encode in ENCODINGS.values():
        batch = _batch(x.cast(pa.float64()), encode(k))
        np.testing.assert_array_equal(FITTED.transform(batch).numeric, whole.numeric)
        assert FITTED.transform(batch).categorical.tolist() == whole.categorical.tolist()
        part = FITTED.transform(batch.slice(offset, 5))
        np.testing.assert_array_equal(part.numeric, whole.numeric[offset : offset + 5])
        assert part.categorical.tolist() == whole.categorical[offset : offset + 5].tolist()


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal128(12, 2), pa.bool_()])
def test_all_kinds_of_numbers_are_read(kind: pa.DataType) -> None:
    values = pa.array([1, 0, None, 1, 1, 0, 0, 1, 1, 0, None], pa.int32()).cast(kind)
    found = FITTED.transform(_batch(values, pa.nulls(11, pa.string()))).numeric[:, 0]
    np.testing.assert_array_equal(found, np.array([1, 0, np.nan, 1, 1, 0, 0, 1, 1, 0, np.nan], np.float32))


def test_numbers_and_booleans_are_categories_too() -> None:
    fitted = fit_preprocess(pa.table({"n": [3, 3, 20, None], "b": [True, True, False, None]}), [], ["n", "b"], 1)
    assert fitted.categories == {"n": ("20", "3"), "b": ("false", "true")}
    batch = pa.record_batch({"n": pa.array([20, 3, 4, None], pa.int16()), "b": pa.array([True, False, None, None])})
    assert fitted.transform(batch).categorical.tolist() == [[2, 3], [3, 2], [1, 0], [0, 0]]


def test_too_large_a_number_is_infinite_and_an_empty_batch_is_fine() -> None:
    assert FITTED.transform(_batch(pa.array([1e300]), pa.array(["a"]))).numeric[0, 0] == np.inf
    assert FITTED.transform(_batch(pa.array([], pa.float64()), pa.array([], pa.string()))).rows == 0


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (pa.record_batch({"x": pa.array([1.0])}), "no column 'k'"),
        (pa.record_batch([pa.array([1.0])] * 2, names=["x", "x"]), "2 columns 'x'"),
        (_batch(pa.array(["1"]), pa.array(["a"])), "'x' has the type string"),
        (_batch(pa.array([1.0]), pa.array([1.5])), "'k' has the type double"),
        (_batch(pa.nulls(1), pa.array(["a"])), "'x' has the type null"),
    ],
)
def test_missing_doubled_and_mistyped_columns_are_refused(batch: pa.RecordBatch, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FITTED.transform(batch)


def test_fitting_keeps_frequent_values_sorted_and_reads_chunks() -> None:
    chunks = [["b", "a", "b"], ["a", None, "c", "b"], []]
    table = pa.table(
        {"x": pa.chunked_array([[1.0] * len(c) for c in chunks]), "k": pa.chunked_array(chunks, pa.string())}
    )
    fitted = fit_preprocess(table, ["x"], ["k"], min_category_rows=2)
    assert fitted.categories == {"k": ("a", "b")}
    encoded = table.set_column(1, "k", pc.dictionary_encode(table["k"]))
    assert fit_preprocess(encoded, ["x"], ["k"], min_category_rows=2) == fitted
    assert Preprocess.from_json(fitted.to_json()) == fitted
    assert fit_preprocess(table.slice(0, 0), ["x"], ["k"], 1).categories == {"k": ()}
    with pytest.raises(InputError, match="'k' has the type string"):
        fit_preprocess(table, ["k"], [], 1)
    with pytest.raises(InputError, match="no column 'z'"):
        fit_preprocess(table, ["z"], [], 1)


def test_a_column_whose_categories_were_all_rare_is_unseen() -> None:
    fitted = Preprocess(numeric=(), categorical=(Category(column="k", categories=()),))
    assert fitted.transform(pa.record_batch({"k": pa.array(["a", None])})).categorical.tolist() == [[1], [0]]


@pytest.mark.parametrize("rubbish", [-5, 2**31 - 1])
def test_what_stands_at_a_null_is_not_looked_at(rubbish: int) -> None:
    places = pa.py_buffer(np.array([1, rubbish, 0], dtype=np.int32))
    indices = pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(bytes([0b101])), places])
    k = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b"]), safe=False)
    found = FITTED.transform(_batch(pa.array([0.0, 0.0, 0.0]), k))
    assert found.categorical[:, 0].tolist() == [4, 0, 3]
