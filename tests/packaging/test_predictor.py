"""The same row gets the same bits: at any batch size, offset, order and thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hostile_graphs import HALF, PLACES, halved
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tallywright.errors import InputError, PackageError
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.package import Package, PackageContents, write_package
from tallywright.packaging.predictor import MICRO_BATCH, Predictor
from tallywright.packaging.preprocess import Preprocess
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.profile import define


@pytest.fixture(scope="module")
def predictor(package: Package) -> Predictor:
    return Predictor(package)


def _bits(batch: pa.RecordBatch) -> list[bytes]:
    return [column.buffers()[-1].to_pybytes() for column in batch.columns]


@given(st.lists(st.integers(0, 5000), max_size=4), st.integers(0, 2**32 - 1))
def test_any_batching_and_order_gives_the_same_bits(predictor, rows, cuts, seed) -> None:
    whole = predictor.predict(rows).scores
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    shuffled = rows.take(pa.array(order))
    bounds = [0, *sorted(cuts), rows.num_rows]
    parts = [predictor.predict(shuffled.slice(a, b - a)).scores for a, b in pairwise(bounds)]
    assert np.concatenate(parts).tobytes() == whole[order].tobytes()


def test_single_rows_have_the_same_bits(predictor, rows) -> None:
    whole = predictor(rows.slice(0, 40))
    singles = [predictor(rows.slice(index, 1)) for index in range(40)]
    assert pa.Table.from_batches(singles).combine_chunks().to_batches()[0].equals(whole)


def test_threads_with_clones_have_the_same_bits(predictor, rows) -> None:
    whole = _bits(predictor(rows))
    with ThreadPoolExecutor(4) as pool:
        clones = [predictor.clone() for _ in range(4)]
        results = pool.map(lambda clone: [_bits(clone(rows)) for _ in range(5)], clones)
        assert all(bits == whole for result in results for bits in result)


def test_the_outputs_are_what_the_schema_says(predictor, package, rows) -> None:
    prediction = predictor.predict(rows)
    assert prediction.outputs.schema == predictor.output_schema == package.output_schema
    probability = prediction.outputs["probability"].to_numpy()
    np.testing.assert_array_equal(probability, prediction.scores)
    np.testing.assert_array_equal(prediction.outputs["prediction"].to_numpy(), probability >= 0.5)
    np.testing.assert_array_equal(prediction.outputs["confidence"].to_numpy(), np.maximum(probability, 1 - probability))
    prediction.outputs.validate(full=True)
    assert predictor.predict(rows.slice(0, 0)).outputs.num_rows == 0
    lenient = Predictor(package, threshold=0.1)
    assert lenient.clone()(rows)["prediction"].to_numpy().sum() > prediction.outputs["prediction"].to_numpy().sum()


def test_the_scores_are_those_of_training(predictor, package) -> None:
    inputs, expected = package.parity()
    assert predictor.score(inputs).tobytes() == expected.tobytes()


def test_the_graph_computes_the_logistic_formula(predictor, package, rows) -> None:
    inputs = package.preprocess.transform(rows)
    means, scales = np.array([0, 2500, 0.5]), np.array([1, 1400, 0.3])
    with np.errstate(invalid="ignore"):
        standard = (np.where(np.isnan(inputs.numeric), means, inputs.numeric) - means) / scales
        logit = standard @ np.array([0.7, -0.4, 0.2]) - 0.3
    for index, category in enumerate(package.preprocess.categorical):
        logit += np.linspace(-1, 1, len(category.categories) + 2)[inputs.categorical[:, index]]
    np.testing.assert_allclose(predictor.score(inputs), 1 / (1 + np.exp(-logit)), atol=2e-6)


def test_a_missing_column_is_refused(predictor, rows) -> None:
    with pytest.raises(InputError, match="no column 'wind'"):
        predictor(rows.drop_columns(["wind"]))


def _packaged(contents: PackageContents, folder, onnx_bytes: bytes, preprocess: Preprocess, **meta) -> Package:
    """A package of another graph; its reference is empty of rows, which no prediction minds."""
    numeric = {name: np.array([0.0, 1.0]) for name in preprocess.numeric}
    definition = define(numeric, preprocess.categories, np.array([0.5]), 4)
    width, codes = len(preprocess.numeric), len(preprocess.categorical)
    empty = np.zeros((0, width), np.float32), np.zeros((0, codes), np.int64), np.zeros(0, np.float32)
    changed = replace(
        contents,
        meta=contents.meta.model_copy(update=meta),
        onnx=onnx_bytes,
        preprocess=preprocess,
        definition=definition,
        reference=profile_rows(definition, *empty),
    )
    return write_package(folder, changed)


def test_regression_without_categories(contents, tmp_path, rows) -> None:
    preprocess = Preprocess(numeric=("rate",), categorical=())
    graph = linear_onnx(preprocess, [0], [1], [2], [], 1, link="identity")
    predictor = Predictor(_packaged(contents, tmp_path / "p", graph, preprocess, task="regression"))
    outputs = predictor(rows)
    assert outputs.schema.names == ["prediction"]
    np.testing.assert_allclose(outputs["prediction"].to_numpy(), rows["rate"].to_numpy() * 2 + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("class_type", "classes"), [("string", ("no", "ja", "weiß nicht")), ("int32", ("7", "8", "-1"))]
)
def test_multiclass(contents, tmp_path, rows, class_type, classes) -> None:
    preprocess = Preprocess(numeric=("rate", "wind", "distance"), categorical=())
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["numeric"], ["null"]),
            helper.make_node("Cast", ["null"], ["marks"], to=TensorProto.FLOAT),
            helper.make_node("Softmax", ["marks"], ["score"], axis=1),
        ],
        "softmax",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    package = _packaged(
        contents,
        tmp_path / "p",
        model.SerializeToString(),
        preprocess,
        task="multiclass",
        class_type=class_type,
        classes=classes,
    )
    prediction = Predictor(package).predict(rows)
    prediction.outputs.validate(full=True)
    assert prediction.outputs.schema == package.output_schema
    assert str(prediction.outputs.schema.field("prediction").type) == class_type
    raw = np.array(prediction.outputs["probabilities"].to_pylist(), np.float32)
    assert [str(value) for value in prediction.outputs["prediction"].to_pylist()] == [classes[i] for i in raw.argmax(1)]
    np.testing.assert_array_equal(prediction.scores, raw.max(axis=1))
    assert Predictor(package)(rows.slice(0, 0)).num_rows == 0


def test_a_graph_that_does_not_fit_is_refused(contents, tmp_path) -> None:
    other = linear_onnx(Preprocess(numeric=("wind",), categorical=()), [0], [1], [2], [], 1)
    spoilt = write_package(tmp_path / "other", replace(contents, onnx=other))
    with pytest.raises(PackageError, match="reads"):
        Predictor(spoilt)
    broken = write_package(tmp_path / "broken", replace(contents, onnx=b"no graph"))
    with pytest.raises(PackageError, match="cannot load"):
        Predictor(broken)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_graph_reads_no_file_below_the_current_directory(contents, tmp_path, monkeypatch, place) -> None:
    """ONNX Runtime would, wherever the graph names it; a package is one file of bytes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside").write_bytes(HALF)
    spoilt = write_package(tmp_path / "p", replace(contents, onnx=halved(contents.onnx, place, "beside")))
    with pytest.raises(PackageError, match="cannot load"):
        Predictor(spoilt)


def test_the_graph_is_checked_again_when_it_is_loaded(own_package) -> None:
    model = onnx.load(own_package.onnx_path)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([[9.0]], np.float32), "bias"))
    own_package.onnx_path.write_bytes(model.SerializeToString())
    with pytest.raises(PackageError, match=r"model\.onnx was altered"):
        Predictor(own_package)


def test_a_micro_batch_has_more_than_one_row() -> None:
    assert MICRO_BATCH > 1
