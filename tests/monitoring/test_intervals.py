from __future__ import annotations

import numpy as np
import pytest

from tallywright.monitoring.intervals import interval


def auc(y: np.ndarray, p: np.ndarray) -> float:
    wins = (p[y == 1][:, None] > p[y == 0][None, :]) + 0.5 * (p[y == 1][:, None] == p[y == 0][None, :])
    return float(wins.mean())


def day(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    p = np.round(random.beta(2, 5, rows), 2)  # ties on purpose
    return (random.random(rows) < p).astype(np.int8), p


def test_delong_equals_the_double_sum_of_its_definition() -> None:
    y, p = day(np.random.default_rng(3), 120)
    positive, negative = p[y == 1], p[y == 0]
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    variance = wins.mean(axis=1).var(ddof=1) / positive.size + wins.mean(axis=0).var(ddof=1) / negative.size
    found = interval("roc_auc", wins.mean(), y, p)
    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.959964 * variance**0.5, rel=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(11)
    truth = auc(*day(random, 4_000))
    inside = 0
    for _ in range(300):
        y, p = day(random, 300)
        bounds = interval("roc_auc", auc(y, p), y, p)
        assert bounds is not None
        inside += bounds[0] <= truth <= bounds[1]
    assert 0.90 <= inside / 300 <= 0.99


@pytest.mark.parametrize("metric", ["brier", "accuracy", "log_loss"])
def test_means_lie_inside_and_more_rows_narrow_them(metric: str) -> None:
    widths = []
    for rows in (100, 10_000):
        y, p = day(np.random.default_rng(2), rows)
        bounds = interval(metric, 0.5, y, p)
        assert bounds is not None
        assert bounds[0] < 0.5 < bounds[1]
        widths.append(bounds[1] - bounds[0])
    assert widths[1] < widths[0] / 5


def test_no_interval_without_rows_of_both_classes_or_for_other_metrics() -> None:
    y, p = np.array([1, 1, 0], dtype=np.int8), np.array([0.2, 0.4, 0.1])
    assert interval("roc_auc", 1.0, y, p) is None
    assert interval("calibration_error", 0.1, y, p) is None
    assert interval("brier", 0.1, y[:1], p[:1]) is None
