"""The quality gate of every task: its own metrics, their direction, and labels as they are in the data."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic import make_features, make_package, make_project

from tallywright.gates.quality import gate
from tallywright.metrics import evaluate
from tallywright.packaging.predictor import Predictor
from tallywright.records import Verdict
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.packaging.package import Package
    from tallywright.records import Check, GateReport

ROWS, DAYS = 2400, 12
GATES = {"min_holdout_rows": 100, "max_calibration_error": 1.0}


def quality_gate(project, *, candidate, champion, holdout, as_of=date(2024, 4, 1), **more):
    return gate.quality_gate(project, [gate.Sample(candidate, holdout)], champion, as_of=as_of, **more)


def named(report: GateReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def holdout_of(package: Package, *, seed: int = 5) -> pa.Table:
    """Rows of several days whose labels follow this package's scores, so that it is better than any other."""
    features = make_features(ROWS, seed=seed)
    (batch,) = features.combine_chunks().to_batches()
    predictor = Predictor(package)
    scores = predictor.score(package.preprocess.transform(batch))
    random = np.random.default_rng(seed)
    labels: Any
    if package.postprocess.task == "multiclass":
        drawn = (random.random((ROWS, 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(max=2)
        labels = pa.array(np.array(package.postprocess.classes, dtype=object)[drawn], pa.string())
        if package.postprocess.class_type == "int32":
            labels = labels.cast(pa.int64())
    elif package.postprocess.task == "binary":
        drawn = (random.random(ROWS) < scores).astype(int)
        labels = pa.array(drawn)
        if package.postprocess.classes:
            labels = pa.array(np.array(package.postprocess.classes, dtype=object)[drawn], pa.string())
    else:
        labels = pa.array(scores + random.normal(size=ROWS) * 0.1)
    days = [date(2024, 3, 1) + timedelta(days=row * DAYS // ROWS) for row in range(ROWS)]
    return features.append_column("score_date", pa.array(days, pa.date32())).append_column("label", labels)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("regression", {"unit": "hours"}),
        ("multiclass", {"classes": ("0", "1", "2"), "class_type": "int32"}),
        ("multiclass", {}),
        ("binary", {"classes": ("no", "yes"), "positive": "yes"}),
        ("binary", {}),
    ],
)
def test_the_better_model_of_a_task_passes_by_the_metrics_of_the_task_alone(
    tmp_path: Path, task: str, told: dict[str, Any]
) -> None:
    spec_of = {name: told[name] for name in ("unit", "positive") if name in told}
    project = make_project(tmp_path, training={"task": task, "slices": ["c0"], **spec_of}, gates=GATES)
    better, worse = (make_package(tmp_path / name, task=task, seed=seed, **told) for name, seed in (("a", 1), ("b", 2)))
    rows, kind = holdout_of(better), TASKS[task]  # type: ignore[index]
    report = quality_gate(project, candidate=better, champion=worse, holdout=rows)
    found = named(report)
    assert report.verdict is not Verdict.FAIL, report.failed
    assert found[f"superiority_{kind.primary_metric}"].observed > 0
    judged = {name.removeprefix("not_worse_") for name in found if name.startswith("not_worse_")}
    assert judged == set(kind.guards) - {kind.primary_metric}
    slices = [check for name, check in found.items() if name.startswith("slice_")]
    assert slices
    assert all(check.bound.startswith(kind.primary_metric) for check in slices)
    text = " ".join(f"{check.name} {check.evidence}" for check in report.checks)
    assert not [metric for metric in ("roc_auc", "brier", "rmse", "mae", "r2") if metric in text
                and metric not in kind.metrics]  # fmt: skip
    back = quality_gate(project, candidate=worse, champion=better, holdout=rows)
    assert f"superiority_{kind.primary_metric}" in [check.name for check in back.failed]


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_other_metrics_of_a_regression_may_be_the_primary_one(tmp_path: Path, metric: str) -> None:
    project = make_project(tmp_path, training={"task": "regression"}, gates=GATES | {"primary_metric": metric})
    better, worse = (make_package(tmp_path / str(seed), task="regression", seed=seed) for seed in (1, 2))
    found = named(quality_gate(project, candidate=better, champion=worse, holdout=holdout_of(better)))
    assert found[f"superiority_{metric}"].observed > 0
    assert "not_worse_rmse" in found


def test_models_with_other_classes_are_compared_over_the_classes_of_both(tmp_path: Path) -> None:
    project = make_project(tmp_path, training={"task": "multiclass"}, gates=GATES)
    champion = make_package(tmp_path / "a", task="multiclass", seed=1, classes=("x", "y", "z"))
    candidate = make_package(tmp_path / "b", task="multiclass", seed=2, classes=("x", "y", "w"))
    rows = holdout_of(candidate)
    found = named(quality_gate(project, candidate=candidate, champion=champion, holdout=rows))
    check = found["means_what_the_champion_means"]
    assert check.verdict is Verdict.WARN
    assert check.evidence.startswith("its classes are x, y, w, the champion's x, y, z; no row has z")
    assert found["superiority_log_loss"].observed > 0


@pytest.mark.parametrize(
    ("mine", "its", "said"),
    [
        ({"task": "regression", "unit": "hours"}, {"task": "regression", "unit": "days"}, "unit is hours"),
        ({"task": "regression"}, {}, "task is regression, the champion's binary"),
        ({"target": "cancelled"}, {}, "target is cancelled"),
        (
            {"classes": ("yes", "no"), "positive": "no"},
            {"classes": ("no", "yes"), "positive": "yes"},
            "positive class is no",
        ),
    ],
)
def test_a_model_that_means_something_else_is_refused(tmp_path: Path, mine: Any, its: Any, said: str) -> None:
    task = mine.get("task", "binary")
    project = make_project(tmp_path, training={"task": task}, gates=GATES)
    candidate, champion = make_package(tmp_path / "a", **mine), make_package(tmp_path / "b", seed=1, **its)
    report = quality_gate(project, candidate=candidate, champion=champion, holdout=holdout_of(candidate))
    (failed,) = report.failed
    assert failed.name == "means_what_the_champion_means"
    assert said in failed.evidence


def test_the_accuracy_of_the_gate_is_that_of_the_threshold_in_the_package(tmp_path: Path) -> None:
    """A package that fixed a threshold is judged by it; one of the time before, by the spec's."""
    floors = {"accuracy": {"min": 0.0}}
    fixed, before = make_package(tmp_path / "a", threshold=0.3), make_package(tmp_path / "b")
    for package, given, used in ((fixed, 0.5, 0.3), (before, 0.7, 0.7), (before, 0.5, 0.5)):
        project = make_project(tmp_path, gates=GATES | {"floors": floors}, scoring={"threshold": given})
        rows = holdout_of(package)
        (batch,) = rows.combine_chunks().to_batches()
        outputs = Predictor(package, threshold=given)(batch)
        hits = np.asarray(outputs["prediction"]) == np.asarray(rows["label"])
        found = named(quality_gate(project, candidate=package, champion=None, holdout=rows))
        assert found["floor_accuracy"].observed == pytest.approx(hits.mean(), abs=0)
        figures = evaluate(np.asarray(rows["label"]), np.asarray(outputs["probability"]), threshold=used)
        assert found["floor_accuracy"].observed == figures["accuracy"]


def test_a_label_of_no_class_fails_the_gate_and_no_command(tmp_path: Path) -> None:
    project = make_project(tmp_path, gates=GATES)
    package = make_package(tmp_path / "a")
    rows = holdout_of(package)
    labels = rows["label"].to_pylist()
    labels[3] = 2
    rows = rows.set_column(rows.column_names.index("label"), "label", pa.array(labels))
    report = quality_gate(project, candidate=package, champion=None, holdout=rows)
    assert [check.name for check in report.failed] == ["metrics"]
