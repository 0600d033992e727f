"""Scoring needs Arrow and ONNX Runtime, nothing else; pyarrow itself must not be led into importing pandas."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa

from tallywright.packaging.package import Package

SCORE = """
import sys
import pyarrow as pa
from pathlib import Path
import tallywright.packaging.package
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import Accumulator
package = load_package(Path(sys.argv[1]))
with pa.ipc.open_file(sys.argv[2]) as reader:
    batch = reader.get_batch(0)
prediction = Predictor(package).predict(batch)
accumulator = Accumulator(package.definition)
accumulator.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
(accumulator.profile() + package.reference).to_json()
heavy = {"pandas", "torch", "mlflow", "onnx", "sklearn", "safetensors", "yaml", "scipy"} & set(sys.modules)
raise SystemExit(f"imported {sorted(heavy)}" if heavy else 0)
"""


def test_scoring_a_batch_imports_nothing_heavy(package: Package, rows: pa.RecordBatch, tmp_path) -> None:
    path = str(tmp_path / "rows.arrow")
    with pa.ipc.new_file(path, rows.schema) as writer:
        writer.write_batch(rows)
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(package.folder), path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
