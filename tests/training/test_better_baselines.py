"""A baseline that is better than the model is said in words."""

from __future__ import annotations

import pytest

from tallywright.training.evaluate import better_baselines


@pytest.mark.parametrize(
    ("metric", "model", "baseline", "said"),
    [("roc_auc", 0.7, 0.8, True), ("roc_auc", 0.8, 0.7, False), ("rmse", 2.0, 1.0, True), ("rmse", 1.0, 1.0, False)],
)
def test_a_better_baseline_is_said(metric: str, model: float, baseline: float, *, said: bool) -> None:
    results = {"model": {metric: model}, "gradient_boosting": {metric: baseline, "other": 1.0}}
    sentences = better_baselines(results, metric)
    assert bool(sentences) is said
    assert all("gradient_boosting is better than the model" in sentence for sentence in sentences)


def test_without_the_metric_nothing_is_said() -> None:
    assert better_baselines({"model": {}, "linear_regression": {"rmse": 1.0}}, "rmse") == []
