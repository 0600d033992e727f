from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from visits import AS_OF, DAYS, FIRST, ROWS, spec_of

from tallywright.data.snapshot import read_split
from tallywright.errors import InputError, PackageError, SpecError, TrackingError
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.comparison import ReferenceDays
from tallywright.spec.environment import Tracking
from tallywright.spec.sections import Monitoring

pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def run_training(visits, work, run_id="run-1"):
    from tallywright.training.fit import train

    return train(*visits, run_id=run_id, work=Path(work), code_version="0123abc")


def run_refit(visits, work, judged, run_id="run-1"):
    from tallywright.training.fit import refit

    return refit(*visits, judged=Path(judged.folder), run_id=run_id, work=Path(work), code_version="0123abc")


@pytest.mark.parametrize(
    ("task", "metric", "linear"),
    [
        ("binary", "roc_auc", "logistic_regression"),
        ("multiclass", "log_loss", "logistic_regression"),
        ("regression", "rmse", "linear_regression"),
    ],
)
def test_a_task_is_trained_packaged_and_recorded(visits, tmp_path, task, metric, linear):
    project, lake, snapshot = visits(task)
    trained = run_training((project, lake, snapshot), tmp_path / "work")
    assert set(trained.metrics) == {"model", linear, "gradient_boosting"}

    package = load_package(Path(trained.folder), digest=trained.digest)
    meta = package.meta
    assert (meta.task, meta.trained_through, meta.code_version) == (task, AS_OF - timedelta(days=1), "0123abc")
    assert meta.classes == (("0", "1", "2") if task == "multiclass" else ())
    assert meta.evaluation["model"] == trained.metrics["model"]
    assert meta.evaluation["slice kind=a"]["rows"] >= 200
    assert {"features/features.sql", "features/network.py"} <= package.manifest.files.keys()
    assert not (tmp_path / "work" / "draft_package").exists()

    # What the package says about itself is what its Predictor does.
    holdout = read_split(project, lake, snapshot, "holdout")
    outputs = pa.Table.from_batches([Predictor(package)(batch) for batch in holdout.to_batches()])
    truth = np.array(holdout["y"].to_pylist())
    better = 0.25 if task == "regression" else 0.15
    prediction = np.array(outputs["prediction"].to_pylist())
    if task == "regression":
        assert np.sqrt(np.mean((prediction - truth) ** 2)) == pytest.approx(trained.metrics["model"][metric])
        assert trained.metrics["model"]["r2"] > better
    else:
        assert (prediction == truth).mean() == pytest.approx(trained.metrics["model"]["accuracy"])
        assert trained.metrics["model"]["accuracy"] > max(np.bincount(truth)) / len(truth) + better
    sample, expected = package.parity()
    assert Predictor(package).score(sample).tobytes() == expected.tobytes()


def test_the_reference_profile_is_that_of_the_training_window(visits, tmp_path):
    project, lake, snapshot = visits()
    package = load_package(Path(run_training((project, lake, snapshot), tmp_path / "work").folder))
    rows = snapshot.rows["train"] + snapshot.rows["validation"]
    assert package.reference.rows == rows == 8 * ROWS
    from tallywright.profiles.accumulate import Accumulator

    # Counted from the tables in other batches by the scoring path: the same integers.
    counted = Accumulator(package.definition)
    for split in ("validation", "train"):
        for batch in read_split(project, lake, snapshot, split).to_batches(max_chunksize=97):
            scored = Predictor(package).predict(batch)
            counted.update(scored.inputs.numeric, scored.inputs.categorical, scored.scores)
    assert counted.profile().to_json() == package.reference.to_json()


def test_the_days_of_the_reference_are_those_of_the_training_window(visits, tmp_path):
    project, lake, snapshot = visits()
    monitoring = Monitoring(min_rows=ROWS)
    project = replace(project, spec=project.spec.model_copy(update={"monitoring": monitoring}))
    package = load_package(Path(run_training((project, lake, snapshot), tmp_path / "work").folder))
    days = {}
    for split in ("validation", "train"):
        rows = read_split(project, lake, snapshot, split)
        for day in rows["score_date"].unique().to_pylist():
            (batch,) = rows.filter(pc.equal(rows["score_date"], day)).combine_chunks().to_batches()
            scored = Predictor(package).predict(batch)
            inputs = scored.inputs
            days[day] = profile_rows(package.definition, inputs.numeric, inputs.categorical, scored.scores)
    assert package.reference_days == ReferenceDays.learn(days)
    assert package.reference_days.days == tuple(FIRST + timedelta(days=number) for number in range(8))


def test_a_repeated_step_is_the_same_package_and_run(visits, tmp_path):
    from mlflow import MlflowClient

    made = visits()
    first = run_training(made, tmp_path / "work")
    again = run_training(made, tmp_path / "work")
    anew = run_training(made, tmp_path / "elsewhere")  # without the checkpoint
    assert first.digest == again.digest == anew.digest
    assert first.run_id == again.run_id == anew.run_id
    other = run_training(made, tmp_path / "work", run_id="run-2")
    assert other.run_id != first.run_id
    folders = [Path(trained.folder) for trained in (anew, other)]
    assert (
        folders[0].joinpath("model.safetensors").read_bytes() == folders[1].joinpath("model.safetensors").read_bytes()
    )

    seen = MlflowClient(tracking_uri=made[0].environment.tracking.uri).get_run(first.run_id)
    snapshot = made[2]
    assert seen.info.status == "FINISHED"
    assert seen.data.tags["code.version"] == "0123abc"
    assert seen.data.tags["data.features"] == f"visits__features@{snapshot.features.version}"
    assert seen.data.tags["spec.digest"] == made[0].spec.digest(without=frozenset({"spec_version"}))
    assert seen.data.tags["package.digest"] == first.digest
    assert seen.data.tags["environment.torch"]
    assert seen.data.tags["hardware.device"] == "cpu"
    assert seen.data.params["network.hidden"] == "16"
    assert seen.data.metrics["model/roc_auc"] == first.metrics["model"]["roc_auc"]
    assert json.loads(seen.data.tags["data.snapshot"])["as_of"] == str(AS_OF)
    plots = sorted(path.name for path in (tmp_path / "artifacts").rglob("*.png"))
    assert plots[:3] == ["calibration.png", "calibration.png", "loss.png"]


def test_nothing_is_trained_when_mlflow_cannot_be_used(visits, tmp_path):
    project, lake, snapshot = visits()
    (tmp_path / "file").write_text("in the way")
    tracking = Tracking(uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    project = replace(project, environment=project.environment.model_copy(update={"tracking": tracking}))
    with pytest.raises(TrackingError, match="could not connect"):
        run_training((project, lake, snapshot), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_network_file_fails_before_a_run_is_opened(visits, tmp_path):
    made = visits()
    (tmp_path / "network.py").unlink()
    with pytest.raises(SpecError, match="does not exist"):
        run_training(made, tmp_path / "work")
    assert not (tmp_path / "artifacts").exists()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=made[0].environment.tracking.uri)
    assert client.get_experiment_by_name("tallywright/visits") is None


def test_a_task_that_does_not_fit_the_labels_is_refused(visits, tmp_path):
    made = visits("multiclass")
    project = replace(made[0], spec=spec_of("binary"))
    with pytest.raises(
        InputError, match=r"3 classes .* '0' in [\d,]+ rows .*'1' in .*'2' in [\d,]+ rows \(2024-03-01, "
    ) as refused:
        run_training((project, *made[1:]), tmp_path / "work")
    assert refused.value.expected == "0 and 1, in all windows together"


def test_created_at_is_when_the_run_was_first_opened(visits, tmp_path):
    before = datetime.now(UTC)
    package = load_package(Path(run_training(visits(baselines=False), tmp_path / "work").folder))
    assert before - timedelta(seconds=1) < package.meta.created_at < datetime.now(UTC)
    assert set(package.meta.evaluation) >= {"model", "validation"}
    assert "gradient_boosting" not in package.meta.evaluation


def test_a_refit_is_the_same_recipe_on_all_rows(visits, tmp_path):
    from mlflow import MlflowClient

    made = visits(baselines=False)
    project, lake, snapshot = made
    judged = run_training(made, tmp_path / "work")
    refitted = run_refit(made, tmp_path / "work", judged)
    before, after = load_package(Path(judged.folder)), load_package(Path(refitted.folder))

    assert after.digest == refitted.digest != before.digest
    assert (before.meta.judged, after.meta.judged) == ("", before.digest)
    assert before.fitted_through == snapshot.validation_to
    assert after.fitted_through == after.meta.trained_through == before.meta.trained_through == snapshot.holdout_to
    assert after.meta.evaluation == before.meta.evaluation
    assert refitted.metrics == judged.metrics
    assert after.meta.training_config["rounds"] == before.meta.training_config["rounds"] >= 1
    assert before.reference.rows == snapshot.rows["train"] + snapshot.rows["validation"]
    assert after.reference.rows == sum(snapshot.rows.values())
    # It has learnt from the holdout: scored on it, it is close to the judged one, and another.
    (holdout,) = read_split(project, lake, snapshot, "holdout").combine_chunks().to_batches()
    ours, theirs = (np.array(Predictor(one)(holdout)["probability"].to_pylist()) for one in (before, after))
    assert 0 < np.abs(ours - theirs).mean() < 0.1
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9

    again, anew = (run_refit(made, tmp_path / folder, judged) for folder in ("work", "elsewhere"))
    assert refitted.digest == again.digest == anew.digest
    seen = MlflowClient(tracking_uri=project.environment.tracking.uri).get_run(judged.run_id).data
    assert (seen.tags["package.digest"], seen.tags["refit.digest"]) == (judged.digest, refitted.digest)
    assert seen.tags["refit.rows"] == str(DAYS * ROWS)
    assert seen.metrics["model/roc_auc"] == judged.metrics["model"]["roc_auc"]
    assert seen.metrics["refit/train_loss"] != seen.metrics["train_loss"]
    assert 0 <= seen.metrics["parity"] < 1e-5 > seen.metrics["refit/parity"]


def test_a_refit_of_another_snapshot_is_refused(visits, tmp_path):
    made = visits(baselines=False)
    judged = run_training(made, tmp_path / "work")
    other = made[2].model_copy(update={"as_of": AS_OF + timedelta(days=1)})
    with pytest.raises(PackageError, match="is of another snapshot"):
        run_refit((*made[:2], other), tmp_path / "work", judged)
    assert not (tmp_path / "work" / "refit").exists()


def test_a_class_of_the_holdout_alone_is_left_out_of_the_refit(visits, tmp_path, heard):
    from tallywright.training.recipe import of_known_classes

    project, lake, snapshot = visits("multiclass")
    rows = read_split(project, lake, snapshot, "holdout")
    judged = SimpleNamespace(meta=SimpleNamespace(classes=("0", "2")))
    left = of_known_classes(rows, project.spec.training, judged)
    count = pc.sum(pc.equal(rows["y"], 1)).as_py()
    assert rows.num_rows - left.num_rows == count > 0
    assert sorted(pc.unique(left["y"]).to_pylist()) == [0, 2]
    assert any(f"leaves out {count:,} rows" in record.getMessage() for record in heard.records)


def test_what_the_package_scores_must_be_what_the_library_scores(visits, tmp_path, monkeypatch):
    from tallywright.training.estimators import torch_network

    whole = torch_network.torch_scores
    monkeypatch.setattr(torch_network, "torch_scores", lambda *given: whole(*given) + (np.arange(720) == 7) * 1e-3)
    with pytest.raises(PackageError, match=r"differs by 0\.001 in 1 of 720 rows from the library"):
        run_training(visits(baselines=False), tmp_path / "work")
    assert not (tmp_path / "work" / "package").exists()
    assert not (tmp_path / "work" / "draft_package").exists()
