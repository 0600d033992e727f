"""What `tally train` tells of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from synthetic import make_package

from tallywright.cli.training_summary import TrainingSummary
from tallywright.mlflow_names import encode

if TYPE_CHECKING:
    from pathlib import Path


def test_the_chosen_parameters_and_the_number_of_trials_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    tuned = {
        "estimator": {"name": None, "kind": "lightgbm"},
        "parameters": {"learning_rate": 0.0312, "num_leaves": 23},
        "metric": "roc_auc",
        "value": 0.71234,
        "best": 16,
        "trials": 25,
        "complete": 12,
        "pruned": 12,
        "failed": 1,
    }
    nothing: Any = None
    TrainingSummary(nothing).heard("train", {"digest": "a", "metrics": {"model": {"roc_auc": 0.7}}, "tuned": tuned})
    told = capsys.readouterr().out
    assert "parameter of lightgbm" in told
    assert [line.split() for line in told.splitlines() if "num_leaves" in line] == [["num_leaves", "23"]]
    assert "trial 17 of 25 (12 complete, 12 pruned, 1 failed) was the best on validation: roc_auc 0.7123" in told
    TrainingSummary(nothing).heard("train", {"digest": "a", "metrics": {"model": {"roc_auc": 0.7}}, "tuned": None})
    assert "trial" not in capsys.readouterr().out


def test_a_class_has_its_own_name_and_the_one_by_which_floors_know_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    classes = ("late/very", "on time", "late by more than a day " * 5)
    package = make_package(tmp_path / "a", task="multiclass", classes=classes)
    figures = {f"recall_{encode(name)}": 0.5 for name in classes}
    told = {"digest": package.digest, "metrics": {"model": {"log_loss": 0.7} | figures}}
    nothing: Any = None
    for folder in (package.folder, tmp_path / "gone"):
        TrainingSummary(nothing).heard("train", told | {"folder": str(folder)})
        shown = capsys.readouterr().out
        assert "late/very" in shown
        assert encode(classes[2]) in shown
        assert (classes[2].strip() in shown) == (folder == package.folder)
