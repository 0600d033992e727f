"""Anybody with MLflow can open a package, with unpickling forbidden, and gets our predictions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tallywright.errors import InputError
from tallywright.packaging.package import Package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.pyfunc import _load_pyfunc

LOAD_AND_PREDICT = """
import sys, warnings
import mlflow, pandas as pd, pyarrow as pa, pyarrow.parquet as pq
from mlflow.exceptions import MlflowException
folder, rows, result = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
assert model.metadata.get_input_schema().input_names() == ["wind", "distance", "rate", "carrier", "origin"]
assert model.metadata.get_output_schema().input_names() == ["prediction", "probability", "confidence"]
frame = pq.read_table(rows).to_pandas()
found = model.predict(frame.astype({"rate": "float64"}))
assert list(found.index) == list(frame.index)
pq.write_table(pa.Table.from_pandas(found, preserve_index=False).replace_schema_metadata(None), result)
try:
    model.predict(frame.drop(columns=["wind"]))
except MlflowException as error:
    assert "wind" in str(error)
else:
    raise SystemExit("a missing column was accepted")
"""


@pytest.mark.slow
def test_mlflow_loads_the_folder_and_predicts_the_same(package: Package, rows: pa.RecordBatch, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_batches([rows]), tmp_path / "rows.parquet")
    arguments = [str(package.folder), str(tmp_path / "rows.parquet"), str(tmp_path / "result.parquet")]
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_PREDICT, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "result.parquet")
    assert found.equals(pa.Table.from_batches([Predictor(package)(rows)]))


def test_the_loader_alone_keeps_the_index_and_refuses_params(package: Package, rows: pa.RecordBatch) -> None:
    model = _load_pyfunc(str(package.folder))
    frame = rows.to_pandas().iloc[5:9]
    frame["carrier"] = None
    found = model.predict(frame)
    assert list(found.index) == [5, 6, 7, 8]
    assert list(found.columns) == ["prediction", "probability", "confidence"]
    with pytest.raises(InputError, match="unknown params"):
        model.predict(frame, params={"threshold": 0.1})
