"""Several estimators in a spec: all on the same rows, the best on validation is judged, and refitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from visits import DAYS, ROWS

from tallywright.data.snapshot import read_split
from tallywright.errors import PackageError
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor

for package in ("torch", "lightgbm", "xgboost"):
    pytest.importorskip(package)
pytestmark = pytest.mark.slow

STUMP = {
    "kind": "sklearn",
    "name": "stump",
    "path": "sklearn.tree.DecisionTreeClassifier",
    "params": {"max_depth": 1},
}
TREES = {"kind": "lightgbm", "rounds": 60, "learning_rate": 0.1, "patience": 10, "params": {"num_leaves": 7}}
SEVERAL = [STUMP, TREES, {"kind": "xgboost", "rounds": 1, "params": {"max_depth": 1}}]


def train(made, work, run_id="run-1"):
    from tallywright.training import fit

    return fit.train(*made, run_id=run_id, work=work, code_version="0123abc")


def refit(made, work, judged, run_id="run-1"):
    from tallywright.training import fit

    return fit.refit(*made, judged=Path(judged.folder), run_id=run_id, work=work, code_version="0123abc")


def test_the_best_on_validation_is_judged_and_the_others_stand_beside_it(visits, tmp_path, heard):
    from mlflow import MlflowClient

    made = visits(estimator=SEVERAL)
    trained = train(made, tmp_path / "work")
    assert set(trained.metrics) == {"model", "stump", "xgboost", "logistic_regression", "gradient_boosting"}
    package = load_package(Path(trained.folder), digest=trained.digest)
    config = package.meta.training_config
    assert config["estimator"] == "lightgbm"
    assert 1 < config["rounds"] <= 60
    assert config["lightgbm"]
    assert "features/network.py" not in package.manifest.files
    assert package.weights() == {}
    (told,) = [one.getMessage() for one in heard.records if one.getMessage().startswith("on validation roc_auc: stump")]
    assert told.endswith("the candidate is lightgbm")
    evaluation = package.meta.evaluation
    assert evaluation["model"]["roc_auc"] > evaluation["stump"]["roc_auc"] + 0.05

    # What the package says about itself is what its Predictor does.
    holdout = read_split(*made, "holdout")
    outputs = pa.Table.from_batches([Predictor(package)(batch) for batch in holdout.to_batches()])
    right = np.array(outputs["prediction"].to_pylist()) == np.array(holdout["y"].to_pylist())
    assert right.mean() == pytest.approx(evaluation["model"]["accuracy"])
    sample, expected = package.parity()
    assert Predictor(package).score(sample).tobytes() == expected.tobytes()

    run = MlflowClient(tracking_uri=made[0].environment.tracking.uri).get_run(trained.run_id).data
    assert run.tags["training.estimator"] == "lightgbm"
    assert run.metrics["stump/roc_auc"] == evaluation["stump"]["roc_auc"]
    assert run.metrics["parity"] < 1e-6

    refitted = refit(made, tmp_path / "work", trained)
    again = load_package(Path(refitted.folder))
    assert again.meta.training_config["estimator"] == "lightgbm"
    assert again.meta.training_config["rounds"] == config["rounds"]
    assert again.meta.judged == package.digest
    assert again.reference.rows == DAYS * ROWS
    assert (package.fitted_through, again.fitted_through) == (made[2].validation_to, made[2].holdout_to)
    assert train(made, tmp_path / "elsewhere").digest == trained.digest
    assert refit(made, tmp_path / "elsewhere", trained).digest == refitted.digest


@pytest.mark.long
@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "forest"])
def test_every_task_is_packaged_and_refitted(visits, tmp_path, kind, task):
    forest = "sklearn.ensemble.RandomForest" + ("Regressor" if task == "regression" else "Classifier")
    section = {"kind": "sklearn", "path": forest, "params": {"n_estimators": 20, "min_samples_leaf": 5}}
    made = visits(task, estimator=section if kind == "forest" else {"kind": kind, "rounds": 40, "patience": 5})
    trained = train(made, tmp_path / "work")
    package = load_package(Path(refit(made, tmp_path / "work", trained).folder))
    figures = package.meta.evaluation["model"]
    assert figures["r2"] > 0.25 if task == "regression" else figures["accuracy"] > 0.5
    holdout = read_split(*made, "holdout")
    outputs = pa.Table.from_batches([Predictor(package)(batch) for batch in holdout.to_batches()])
    assert outputs.num_rows == made[2].rows["holdout"]


def test_a_refit_of_an_estimator_that_the_spec_lacks_is_refused(visits, tmp_path):
    made = visits(estimator=STUMP, baselines=False)
    trained = train(made, tmp_path / "work")
    other = made[0].spec.training.model_copy(update={"estimator": None})
    project = replace(made[0], spec=made[0].spec.model_copy(update={"training": other}))
    with pytest.raises(PackageError, match="is of an estimator 'stump'"):
        refit((project, *made[1:]), tmp_path / "work", trained)
