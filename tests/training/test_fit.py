from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest
from tallywright.data.snapshot import read_split, take_snapshot
from tallywright.errors import InputError, SpecError, TrackingError
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.comparison import ReferenceDays
from tallywright.spec import Environment, ModelSpec, Project
from tallywright.spec.environment import Storage, Tracking
from tallywright.spec.sections import Monitoring

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

FIRST, DAYS, ROWS = date(2024, 3, 1), 12, 180
AS_OF = FIRST + timedelta(days=DAYS)

CONTRACT = """
SELECT CAST(v.day AS DATE) AS score_date, CAST(NULL AS VARCHAR) AS reject_reason, v.*
FROM visits v WHERE CAST(v.day AS DATE) BETWEEN :lookback_date AND :to_date
"""
FEATURES = """
SELECT score_date, id, CAST(score_date AS TIMESTAMP) AS score_moment, kind, amount, age
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""
LABELS = """
SELECT id, score_date, outcome AS y, CAST(score_date AS TIMESTAMP) AS label_time, 'known' AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""


def raw_lines(task):
    random = np.random.default_rng(5)
    yield "id,day,kind,amount,age,outcome"
    for number in range(DAYS * ROWS):
        day = FIRST + timedelta(days=number // ROWS)
        kind, amount, age = "abc"[random.integers(3)], random.normal(), random.integers(20, 60)
        signal = amount + (kind == "a") + random.normal()
        outcome = {"binary": int(signal > 0.5), "multiclass": int(np.digitize(signal, [0, 1])), "regression": signal}
        shown = "NA" if random.random() < 0.1 else age
        yield f"v{number},{day},{kind},{amount:.6f},{shown},{outcome[task]}"


def spec_of(task, **training):
    columns = {"id": "VARCHAR", "score_moment": "TIMESTAMP", "kind": "VARCHAR", "amount": "DOUBLE", "age": "DOUBLE"}
    types = {"amount": "DOUBLE", "age": "DOUBLE", "outcome": "DOUBLE" if task == "regression" else "INTEGER"}
    return ModelSpec.model_validate(
        {
            "name": "visits",
            "description": "A model of each task.",
            "owner": {"name": "Visits", "email": "visits@example.com"},
            "schedule": {"start_date": FIRST},
            "data": {
                "sources": {"visits": {"path": "visits.csv", "types": types}},
                "key": ["id"], "contract": "contract.sql", "features": "features.sql", "labels": "labels.sql",
                "columns": columns,
            },
            "training": {
                "task": task, "target": "y", "numeric": ["amount", "age"], "categorical": ["kind"], "slices": ["kind"],
                "window_days": 8, "validation_days": 2, "holdout_days": 4, "device": "cpu",
                "network": {"epochs": 6, "batch_size": 128, "learning_rate": 0.01, "hidden": [16]},
            } | training,
        }
    )  # fmt: skip


@pytest.fixture
def visits(tmp_path, flights_folder, empty_store):
    """A small model project of each task, ingested: project, lake, snapshot."""

    def make(task="binary", **training):
        for name, text in (("contract", CONTRACT), ("features", FEATURES), ("labels", LABELS)):
            (tmp_path / f"{name}.sql").write_text(text)
        (tmp_path / "visits.csv").write_text("\n".join(raw_lines(task)) + "\n")
        (tmp_path / "network.py").write_text((flights_folder / "network.py").read_text())
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        environment = Environment(
            name="test",
            storage=Storage(lake=str(tmp_path / "lake"), work=str(tmp_path / "work")),
            tracking=Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts")),
        )
        project = Project(spec_of(task, **training), tmp_path, tmp_path, environment)
        lake = Lake.of(environment)
        ingest(project, lake, FIRST, AS_OF - timedelta(days=1))
        return project, lake, take_snapshot(project, lake, AS_OF)

    return make


def run_training(visits, work, run_id="run-1"):
    from tallywright.training.fit import train

    return train(*visits, run_id=run_id, work=Path(work), code_version="0123abc")


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
