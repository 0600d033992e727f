"""Anybody with MLflow can open a package, with unpickling forbidden, and gets our predictions."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tallywright.errors import InputError
from tallywright.packaging.linear import linear_onnx
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import Package, PackageContents, PackageMeta, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import fit_preprocess
from tallywright.packaging.pyfunc import _load_pyfunc
from tallywright.profiles.profile import Profile, define

META = PackageMeta(
    model="late",
    task="binary",
    target="late",
    key=("id",),
    trained_through=date(2013, 3, 1),
    run_id="0123",
    code_version="abc",
    owner="somebody",
    requirements=runtime_requirements(),
    created_at=datetime(2013, 3, 2, tzinfo=UTC),
)

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


@pytest.fixture
def typed(tmp_path: Path) -> tuple[Package, pa.RecordBatch]:
    """A package of columns of every type that a feature may have, with nulls, and rows of them."""
    rng = np.random.default_rng(3)
    count = 400

    def nulls() -> np.ndarray:
        return rng.random(count) < 0.1

    batch = pa.record_batch(
        {
            "vip": pa.array(rng.random(count) < 0.5, mask=nulls()),
            "parcels": pa.array(rng.integers(0, 9, count), pa.int32(), mask=nulls()),
            "whole": pa.array(rng.integers(0, 9, count), pa.int64()),
            "price": pa.array([Decimal(int(one)) / 100 for one in rng.integers(0, 9999, count)], pa.decimal128(9, 2)),
            "rate": pa.array(rng.random(count), pa.float32(), mask=nulls()),
            "gift": pa.array(rng.random(count) < 0.3, mask=nulls()),
            "zone": pa.array(rng.integers(1, 5, count), pa.int16(), mask=nulls()),
            "carrier": pa.array(rng.choice(["a", "b"], count), mask=nulls()),
        }
    )
    numeric, categorical = ["vip", "parcels", "whole", "price", "rate"], ["gift", "zone", "carrier"]
    preprocess = fit_preprocess(pa.Table.from_batches([batch]), numeric, categorical, min_category_rows=2)
    tables = [np.linspace(-1, 1, len(category.categories) + 2) for category in preprocess.categorical]
    onnx = linear_onnx(preprocess, [0.5, 4, 4, 50, 0.5], [1, 2, 2, 20, 1], [0.7, -0.4, 0.2, 0.3, 0.1], tables, -0.3)
    inputs = preprocess.transform(batch)
    scores = np.linspace(0, 1, 7, dtype=np.float32)
    definition = define(
        {name: inputs.numeric[:, i] for i, name in enumerate(numeric)}, preprocess.categories, scores, 20
    )
    contents = PackageContents(
        meta=META,
        preprocess=preprocess,
        onnx=onnx,
        weights={},
        definition=definition,
        reference=Profile.empty(definition),
        parity=(inputs.take(slice(0, 7)), scores),
        types={field.name: field.type for field in batch.schema},
    )
    return write_package(tmp_path / "typed", contents), batch


def test_the_rows_of_the_feature_table_give_its_scores_through_pandas(typed: tuple[Package, pa.RecordBatch]) -> None:
    package, batch = typed
    assert package.input_schema == pa.schema([pa.field(field.name, field.type) for field in batch.schema])
    expected = Predictor(package)(batch)
    frame = batch.to_pandas()
    for given in (frame, frame.convert_dtypes(), frame.iloc[::-1]):
        found = _load_pyfunc(str(package.folder)).predict(given).sort_index()
        assert pa.RecordBatch.from_pandas(found, preserve_index=False).equals(expected)


def test_texts_that_look_like_booleans_are_read_as_such_and_others_refused(
    typed: tuple[Package, pa.RecordBatch],
) -> None:
    package, batch = typed
    frame = batch.slice(0, 50).to_pandas()
    model = _load_pyfunc(str(package.folder))
    as_texts = frame.assign(gift=frame["gift"].map({True: "True", False: "False"}))
    assert model.predict(as_texts).equals(model.predict(frame))
    for column, value in (("gift", "perhaps"), ("zone", 2.5), ("parcels", "many")):
        with pytest.raises(InputError, match=f"column '{column}' cannot be read as"):
            model.predict(frame.assign(**{column: [value] * len(frame)}))


@pytest.mark.slow
def test_the_signature_lets_the_rows_of_the_feature_table_through(
    typed: tuple[Package, pa.RecordBatch], tmp_path: Path
) -> None:
    package, batch = typed
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "rows.parquet")
    code = (
        "import sys, mlflow, pandas as pd, pyarrow as pa, pyarrow.parquet as pq\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "types = {c.name: str(c.type) for c in model.metadata.get_input_schema()}\n"
        "assert types['vip'] == types['gift'] == 'DataType.boolean', types\n"
        "found = model.predict(pq.read_table(sys.argv[2]).to_pandas())\n"
        "pq.write_table(pa.Table.from_pandas(found, preserve_index=False).replace_schema_metadata(None), sys.argv[3])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, package.folder, tmp_path / "rows.parquet", tmp_path / "found"],
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "found").equals(pa.Table.from_batches([Predictor(package)(batch)]))
