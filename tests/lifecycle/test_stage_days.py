"""Scored rows with their labels become what metrics read, for every task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from synthetic import CLASSES, DAY, make_spec

from tallywright.gates.evidence.daily import daily_metric
from tallywright.lifecycle.rollout.days import _known_rows
from tallywright.records import Manifest, Meaning

ROWS = 60
CHANCE = np.random.default_rng(1)
SHARES = CHANCE.dirichlet([1, 1, 1], ROWS)


def known(spec: Any, metric: str, meaning: Meaning, **columns: Any) -> Any:
    """The last row has no label, and the one before is of a class that nobody knows."""
    status = ["known"] * (ROWS - 1) + ["missing"]
    rows = pa.table({**columns, "label_status": status})
    return _known_rows(rows, spec, Manifest.model_construct(score_date=DAY, meaning=meaning), metric)


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy"])
def test_binary_by_its_probability_and_by_what_was_predicted(metric: str) -> None:
    labels = (CHANCE.random(ROWS) < 0.5).astype(int)
    probability = CHANCE.random(ROWS)
    found = known(make_spec(), metric, Meaning(task="binary", classes=("0", "1"), positive="1"), label=labels,
                  probability=probability, prediction=(probability > 0.9).astype(int))  # fmt: skip
    assert len(found.target) == ROWS - 1
    wanted = probability if metric == "roc_auc" else probability > 0.9
    assert np.array_equal(found.scores, wanted[:-1])


def test_multiclass_by_the_probabilities_of_its_classes() -> None:
    labels = [*CHANCE.choice(CLASSES, ROWS - 2), "nobody", "ja"]
    spec = make_spec(training={"task": "multiclass"})
    shares = pa.array(SHARES.tolist(), pa.list_(pa.float32()))
    meaning = Meaning(task="multiclass", classes=CLASSES)
    found = known(spec, "log_loss", meaning, label=labels, probabilities=shares, prediction=["ja"] * ROWS)
    assert found.scores.shape == (ROWS - 2, 3)
    assert [CLASSES[int(place)] for place in found.target] == labels[:-2]
    days = np.zeros(ROWS - 2, dtype=np.int64)
    assert daily_metric("log_loss", found.target, found.scores, days, task="multiclass").value > 0


def test_regression_by_its_value() -> None:
    values = CHANCE.normal(size=ROWS)
    spec = make_spec(training={"task": "regression"})
    found = known(spec, "rmse", Meaning(task="regression"), label=values, prediction=values + 1)
    assert np.allclose(found.scores - found.target, 1)
    assert len(found.target) == ROWS - 1
