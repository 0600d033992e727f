"""Metrics of classes and their means against scikit-learn, and what rows do not define."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference  # noqa: TID253 - the reference itself

from tallywright.class_metrics import MOST_CLASSES, names_of_class_metrics
from tallywright.metrics import evaluate, predicted_classes
from tallywright.mlflow_names import encode
from tallywright.tasks import CLASS_METRICS, TASKS, is_of_class, metric_of

CLASSES = ("on time", "late/very", "ab:c", "übel")


@settings(max_examples=12)  # scikit-learn takes a tenth of a second for each
@given(seed=st.integers(0, 2**32), count=st.integers(8, 120), known=st.integers(2, 4))
def test_metrics_of_classes_equal_scikit_learns(seed: int, count: int, known: int) -> None:
    chance = np.random.default_rng(seed)
    y = chance.permutation(np.arange(count) % known)
    p = chance.dirichlet(np.full(known, 0.7), count).round(2)
    p /= p.sum(axis=1, keepdims=True)
    classes, chosen = CLASSES[:known], predicted_classes(p)[0]
    found = evaluate(y, p, task="multiclass", classes=classes)
    asked = {"labels": range(known), "zero_division": np.nan}
    precision, recall, f1, _ = reference.precision_recall_fscore_support(y, chosen, **asked)
    areas = [reference.roc_auc_score(y == place, p[:, place]) for place in range(known)]
    for kind, expected in zip(CLASS_METRICS, (areas, recall, precision, f1), strict=True):
        mine = [found[f"{kind}_{encode(name)}"] for name in classes]
        np.testing.assert_allclose(mine, expected, err_msg=kind)
    assert found["macro_recall"] == pytest.approx(reference.recall_score(y, chosen, average="macro"))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(y, chosen, average="macro", labels=range(known)))
    if known > 2:
        by_sklearn = reference.roc_auc_score(y, p, multi_class="ovr", average="macro")
        assert found["macro_auc"] == pytest.approx(by_sklearn)
    hits, confidence = y == chosen, np.minimum(p.max(axis=1), 1)
    cells = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs((hits[cells == cell] - confidence[cells == cell]).sum()) for cell in range(10)]
    assert found["calibration_error"] == pytest.approx(sum(gaps) / count)


def test_a_class_without_a_row_has_no_figures_and_no_part_in_the_means() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([[0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1]])
    found = evaluate(y, p, task="multiclass", classes=("a", "b", "c"))
    assert [found[f"{kind}_c"] for kind in CLASS_METRICS] == pytest.approx([math.nan] * 4, nan_ok=True)
    assert (found["recall_a"], found["recall_b"], found["macro_recall"]) == (0.5, 1.0, 0.75)
    never = evaluate([0, 1], [[0.9, 0.1], [0.8, 0.2]], task="multiclass", classes=("a", "b"))
    assert math.isnan(never["precision_b"])
    assert (never["recall_b"], never["f1_b"]) == (0.0, 0.0)


def test_names_of_classes_never_become_names_of_metrics_as_they_are() -> None:
    names = names_of_class_metrics(CLASSES)
    assert names[1:2] == ["recall_on time"]
    assert "recall_late:2Fvery" in names
    assert len(set(names)) == len(CLASSES) * len(CLASS_METRICS)
    assert all(is_of_class(name) and metric_of(name).of_class for name in names)
    assert not any(is_of_class(name) for task in TASKS.values() for name in task.metrics)
    assert names_of_class_metrics(["x"] * (MOST_CLASSES + 1)) == []
    for foreign in ("recall_", "recall_a/b", "macro_recall_a", "auc"):
        with pytest.raises(KeyError):
            metric_of(foreign)
