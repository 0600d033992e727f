"""The metrics against scikit-learn, ties included, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference  # noqa: TID253 - the reference itself

from tallywright.metrics import accuracy, brier, calibration_error, evaluate, log_loss, roc_auc
from tallywright.tasks import TASKS

# Few distinct probabilities make ties, which is where AUC implementations differ.
probabilities = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
rows = st.lists(st.tuples(st.integers(0, 1), probabilities), min_size=2, max_size=80)


@given(rows)
def test_binary_metrics_equal_scikit_learns(values) -> None:
    y, p = np.array([label for label, _ in values]), np.array([score for _, score in values])
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    assert log_loss(y, p) == pytest.approx(reference.log_loss(y, clipped, labels=[0, 1]))
    assert brier(y, p) == pytest.approx(np.mean((p - y) ** 2))
    assert accuracy(y, p) == pytest.approx(reference.accuracy_score(y, p >= 0.5))
    if len(set(y)) == 1:
        assert math.isnan(roc_auc(y, p))
    else:
        assert roc_auc(y, p) == pytest.approx(reference.roc_auc_score(y, p))


@given(rows, st.randoms(use_true_random=False))
def test_the_auc_does_not_depend_on_the_order(values, random) -> None:
    shuffled = random.sample(values, len(values))
    results = [roc_auc([label for label, _ in part], [score for _, score in part]) for part in (values, shuffled)]
    assert results[0] == results[1] or all(math.isnan(result) for result in results)


def test_calibration_error_by_hand() -> None:
    assert calibration_error([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]) == 0
    assert calibration_error([1, 1], [0.05, 0.95]) == pytest.approx((0.95 + 0.05) / 2)
    assert calibration_error([1, 0], [1.0, 0.0]) == 0


def test_evaluate_gives_all_metrics_of_a_task() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 500), rng.random(500)
    assert list(evaluate(y, p)) == ["roc_auc", "log_loss", "brier", "accuracy", "calibration_error"]
    values, predicted = rng.normal(size=500), rng.normal(size=500)
    found = evaluate(values, predicted, task="regression")
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(values, predicted))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(values, predicted))
    assert found["r2"] == pytest.approx(reference.r2_score(values, predicted))
    classes, shares = rng.integers(0, 3, 500), rng.dirichlet([1, 1, 1], 500)
    found |= evaluate(classes, shares, task="multiclass")
    assert found["log_loss"] == pytest.approx(reference.log_loss(classes, shares))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(classes, shares.argmax(axis=1)))
    assert {*evaluate(y, p), *found} == {name for task in TASKS.values() for name in task.metrics}


def test_no_rows_give_no_figure() -> None:
    for task in ("binary", "regression"):
        assert all(math.isnan(value) for value in evaluate([], [], task=task).values())
    assert all(math.isnan(value) for value in evaluate([], np.zeros((0, 3)), task="multiclass").values())


@pytest.mark.parametrize(
    ("y", "p"), [([0, 1], [0.5]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan])]
)
def test_impossible_values_are_refused(y, p) -> None:
    with pytest.raises(ValueError, match=r"is needed|must be"):
        roc_auc(y, p)


def test_what_is_beyond_a_float_is_infinite_or_undefined_and_no_warning() -> None:
    y, p = np.array([1.0, 2.0, 1e300]), np.array([1.0, 2.0, 3.0])
    found = evaluate(y, p, task="regression")
    assert found["rmse"] == np.inf
    assert found["mae"] == pytest.approx(1e300 / 3)
    assert np.isnan(found["r2"])
