"""The graph that leaves is the package's own, byte for byte, and its README is enough to run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tallywright.errors import UsageError
from tallywright.lifecycle.export import formats
from tallywright.packaging.predictor import Predictor
from tallywright.records import ModelRef


def test_onnx_gives_the_same_bits(shop, tmp_path) -> None:
    found = shop.tally("3", "--format", "onnx", "--output", str(tmp_path / "out"))
    folder = Path(found["output"])
    assert (folder / "model.onnx").read_bytes() == shop.package.read("model.onnx")
    assert found["files"] == sorted(path.name for path in folder.iterdir())
    assert json.loads((folder / "tally_package.json").read_text()) == {
        "model": "shop", "version": 3, "digest": shop.package.digest, "format": "onnx",
    }  # fmt: skip
    for name in ("preprocess.json", "postprocess.json", "input_schema.json", "output_schema.json"):
        assert (folder / name).read_bytes() == shop.package.read(name)
    # As the README says: one thread, 2,048 rows, padded.
    inputs, _ = shop.package.parity()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    padded = {"numeric": np.zeros((2048, 2), np.float32), "categorical": np.zeros((2048, 1), np.int64)}
    for name, matrix in padded.items():
        matrix[: inputs.rows] = getattr(inputs, name)
    (scores,) = session.run(["score"], padded)
    np.testing.assert_array_equal(scores[: inputs.rows], Predictor(shop.package).score(inputs))


def test_the_readme_names_what_the_graph_reads(shop, tmp_path) -> None:
    shop.tally("3", "--format", "onnx", "--output", str(tmp_path / "out"))
    text = (tmp_path / "out" / "README.md").read_text()
    for line in ("0. `x` (double)", "1. `count` (int64)", "0. `colour` (string, 3 categories)", shop.package.digest):
        assert line in text
    assert "`score`: float32 [rows], the probability of 1. The prediction is the positive class from\n0.4 on." in text


@pytest.mark.parametrize("form", ["torchscript", "pt2"])
def test_a_model_that_is_no_network_has_no_torch_format(shop, tmp_path, form) -> None:
    with pytest.raises(UsageError, match="is no torch network"):
        shop.tally("3", "--format", form, "--output", str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_no_code_is_run_on_the_word_of_the_registry(shop, tmp_path, monkeypatch) -> None:
    told = ModelRef(name="shop", version=9, digest=shop.package.digest)
    monkeypatch.setattr(formats, "find", lambda _project, _version: told)
    with pytest.raises(UsageError, match="only the registry says which package it is"):
        shop.tally("9", "--format", "torchscript", "--output", str(tmp_path / "out"))
    assert shop.tally("9", "--format", "onnx", "--output", str(tmp_path / "out"))["digest"] == shop.package.digest
