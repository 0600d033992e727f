"""Confidence intervals of realised metrics: DeLong's for the area under the ROC curve, the normal one for means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z95: Final = 1.959963984540054
_SMALLEST: Final = 1e-7

Interval = tuple[float, float]


def interval(metric: str, value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """The 95 % interval around a binary metric found on labels `y` (0 or 1) and probabilities `p`.

    Returns:
        Lower and upper bound; None for a metric without a simple one, and where there are too few rows of a class.
    """
    if metric == "roc_auc":
        return _delong(value, y, p)
    if metric == "accuracy":
        half = Z95 * (value * (1 - value) / max(y.size, 1)) ** 0.5
        return max(0.0, value - half), min(1.0, value + half)
    losses = _losses(metric, y, p)
    if losses is None or losses.size <= 1:
        return None
    half = Z95 * float(losses.std(ddof=1)) / losses.size**0.5
    upper = np.inf if metric == "log_loss" else 1.0
    return max(0.0, value - half), min(float(upper), value + half)


def _losses(metric: str, y: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """What the metric is the mean of, row by row."""
    if metric == "brier":
        return np.asarray((p - y) ** 2)
    if metric == "log_loss":
        right = np.where(y == 1, p, 1 - p)
        return np.asarray(-np.log(np.maximum(right, _SMALLEST)))
    return None


def _delong(value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988), by midranks (Sun and Xu, 2014)."""
    positive, negative = p[y == 1], p[y == 0]
    if min(positive.size, negative.size) <= 1:
        return None
    ranks = _midranks(np.concatenate([positive, negative]))
    above_negatives = (ranks[: positive.size] - _midranks(positive)) / negative.size
    below_positives = 1 - (ranks[positive.size :] - _midranks(negative)) / positive.size
    variance = above_negatives.var(ddof=1) / positive.size + below_positives.var(ddof=1) / negative.size
    half = Z95 * float(variance) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
