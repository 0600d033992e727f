"""What MLflow itself saves, flavour by flavour: read as data, or refused with lines that do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from datetime import date

import numpy as np
import pytest
import visits as visits_world

from tallywright.errors import PackageError
from tallywright.lifecycle.adoption.source import AdoptionRequest, fetched

pytestmark = [pytest.mark.slow, pytest.mark.long]

SAVED = """
import sys, warnings; warnings.simplefilter("ignore")
import mlflow, numpy as np, pandas as pd
import lightgbm, xgboost, torch
from sklearn.linear_model import LogisticRegression
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
mlflow.set_tracking_uri(sys.argv[1])
mlflow.create_experiment("theirs", artifact_location=sys.argv[2]); mlflow.set_experiment("theirs")
random = np.random.default_rng(0)
x = pd.DataFrame({"amount": random.normal(size=300), "age": random.normal(size=300)}); y = (x.amount > 0).astype(int)
model = LogisticRegression().fit(x.to_numpy(), y)
graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 2]))], options={"zipmap": False})
booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(x, y), 3)
network = torch.nn.Sequential(torch.nn.Linear(2, 1))
with mlflow.start_run():
    mlflow.onnx.log_model(graph, name="m", registered_model_name="onnx")
    mlflow.lightgbm.log_model(booster, name="m", registered_model_name="booster")
    mlflow.lightgbm.log_model(lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1).fit(x, y), name="m",
                              registered_model_name="lightgbm")
    mlflow.xgboost.log_model(xgboost.XGBClassifier(n_estimators=3).fit(x, y), name="m", registered_model_name="xgboost")
    mlflow.sklearn.log_model(model, name="m", registered_model_name="sklearn")
    mlflow.pytorch.log_model(network, name="m", registered_model_name="pytorch", serialization_format="pickle")
"""


def python(folder, uri, program, *arguments):
    # Artifacts of the default experiment lie where the empty store was made.
    others = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "theirs", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = {**os.environ, **others}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_each_flavour_is_read_or_refused_with_lines_that_work(tmp_path, empty_store):
    project = visits_world.project_in(
        tmp_path, empty_store, numeric=["amount", "age"], categorical=[], slices=[], baselines=False
    )
    uri, work = project.environment.tracking.uri, tmp_path / "adopting"
    python(tmp_path, uri, SAVED, uri, (tmp_path / "theirs").as_uri())

    def take(address, onnx=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fetched(project, AdoptionRequest(onnx, address, date(2024, 3, 6), "ann"), work)

    found = {name: take(f"models:/{name}/1") for name in ("onnx", "booster", "xgboost")}
    assert {name: one.library for name, one in found.items()} == {
        "onnx": "onnx", "booster": "lightgbm", "xgboost": "xgboost",
    }  # fmt: skip
    assert found["xgboost"].best_rounds
    for name in ("sklearn", "pytorch", "lightgbm"):
        with pytest.raises(PackageError) as refused:
            take(f"models:/{name}/1")
        lines = "\n".join(line[14:] for line in refused.value.remedy.splitlines()[1:])
        folder = tmp_path / f"export-{name}"
        folder.mkdir()
        python(folder, uri, lines)
        made = take("models:/lightgbm/2") if name == "lightgbm" else take("", folder / "model.onnx")
        assert np.isin(made.library, ["onnx", "lightgbm"])
