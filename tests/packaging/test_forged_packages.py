"""Packages whose manifest agrees with what somebody put into them: a part that cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tallywright.errors import PackageError
from tallywright.packaging.manifest import MANIFEST, PackageManifest, entry_of
from tallywright.packaging.package import Package, load_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.tensors import dump_tensors

_DEEP = b"[" * 100_000 + b"]" * 100_000
_SHAPELESS = json.dumps({"numeric": {"dtype": "F32", "shape": [-1, "x"], "data_offsets": [0, 1e400]}}).encode()
_CONTENTS = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "an object": b"{}",
    "NaN": b'{"a": NaN, "format": Infinity}',
    "a huge number": b'{"a": 1' + b"0" * 5000 + b"}",
    "deep": _DEEP,
    "keys twice": b'{"a": 1, "a": 2}',
    "a huge header": (2**63).to_bytes(8, "little") + b"{}",
    "a deep header": len(_DEEP).to_bytes(8, "little") + _DEEP,
    "a shape that is none": len(_SHAPELESS).to_bytes(8, "little") + _SHAPELESS,
    "other tensors": dump_tensors({"other": np.zeros(3, dtype=np.float32)}),
}
_PARTS = (
    *("meta.json", "reference_profile.json", "input_schema.json"),
    *("model.onnx", "model.safetensors", "parity.safetensors", "demands.json"),
)


def _forge(folder: Path, name: str, content: bytes | None) -> None:
    """Gives a package another file (None: takes it out), and a manifest that says so."""
    path, entries = folder / name, dict(load_package(folder).manifest.files)
    if content is None:
        path.unlink()
        del entries[name]
    else:
        path.write_bytes(content)
        entries[name] = entry_of(content)
    (folder / MANIFEST).unlink()
    PackageManifest(files=entries).write(folder)


def _use(folder: Path, rows: pa.RecordBatch) -> None:
    """Whatever a command does with a package."""
    package = load_package(folder)
    assert package.input_schema.names
    package.parity()
    assert package.demands is None
    package.weights()
    Predictor(package).predict(rows.slice(0, 5))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (name, content)
        for name in _PARTS
        for content in _CONTENTS
        if (name, content) != ("model.safetensors", "other tensors")  # as good as any: no score comes from them
    ],
)
def test_a_part_of_another_form_is_refused(own_package: Package, rows: pa.RecordBatch, name: str, content: str) -> None:
    _forge(own_package.folder, name, _CONTENTS[content])
    with pytest.raises(PackageError, match=name.partition(".")[0]):
        _use(own_package.folder, rows)


@pytest.mark.parametrize("name", _PARTS[:-1])
def test_a_part_that_is_not_there_is_refused(own_package: Package, rows: pa.RecordBatch, name: str) -> None:
    _forge(own_package.folder, name, None)
    with pytest.raises(PackageError, match=name.partition(".")[0]):
        _use(own_package.folder, rows)
