"""Costs in the spec: the threshold is chosen on validation, kept in judged package and refit, and recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tallywright.data.snapshot import read_split
from tallywright.metrics import losses
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.spec import ModelSpec
from tallywright.training.fit import refit, train

pytestmark = pytest.mark.slow

LINEAR = {"kind": "sklearn", "path": "sklearn.linear_model.LogisticRegression", "inputs": "normalised"}
COSTS = {"false_positive": 2.0, "false_negative": 35.0}


def made_with(visits: Any, **sections: Any) -> Any:
    project, lake, snapshot = visits("binary", estimator=LINEAR, baselines=False)
    values = project.spec.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    spec = ModelSpec.model_validate(values | sections)
    return replace(project, spec=spec), lake, snapshot


def test_a_threshold_by_costs_is_chosen_on_validation_and_kept(visits: Any, tmp_path: Path) -> None:
    made = made_with(visits, gates={"costs": COSTS, "primary_metric": "expected_cost"})
    told: dict[str, Any] = {"run_id": "run-1", "work": tmp_path / "work", "code_version": "0123abc"}
    trained = train(*made, **told)
    package = load_package(Path(trained.folder))
    threshold, project = package.postprocess.threshold, made[0]
    assert threshold is not None
    assert threshold < 0.3
    rows = read_split(*made, "validation")
    (batch,) = rows.combine_chunks().to_batches()
    scores = np.array(Predictor(package)(batch)["probability"])
    labels = np.array(rows["y"])

    def price(at: float) -> float:
        return float(losses("expected_cost", labels, scores, threshold=at, costs=project.spec.gates.costs).mean())

    cost = price(threshold)
    assert cost == pytest.approx(min(map(price, scores)))
    recorded = {"value": threshold, "source": f"expected cost on {len(labels)} validation rows", "expected_cost": cost}
    assert package.meta.training_config["threshold"] == pytest.approx(recorded)
    assert package.meta.evaluation["validation"]["expected_cost"] == pytest.approx(cost)
    assert trained.metrics["model"]["expected_cost"] > 0
    served = load_package(Path(refit(*made, judged=Path(trained.folder), **told).folder))
    assert served.postprocess.threshold == threshold
    assert served.meta.training_config["threshold"] == package.meta.training_config["threshold"]


@pytest.mark.long
def test_a_threshold_of_the_spec_goes_before_costs_and_is_measured_by_them(visits: Any, tmp_path: Path) -> None:
    made = made_with(visits, gates={"costs": COSTS}, scoring={"threshold": 0.7})
    trained = train(*made, run_id="run-1", work=tmp_path / "work", code_version="0123abc")
    package = load_package(Path(trained.folder))
    assert package.postprocess.threshold == 0.7
    assert "threshold" not in package.meta.training_config
    assert trained.metrics["model"]["expected_cost"] > 2
