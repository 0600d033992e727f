"""Confidence intervals of realised metrics, at 95 %.

DeLong's for the area under the ROC curve, the normal one for means (central limit theorem; Wald's for a share), and its
root for a root of a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright import metrics
from tallywright.tasks import metric_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.tasks import TaskName

Z95: Final = 1.959963984540054
Interval = tuple[float, float]
_LARGEST_ROOT: Final = 1e150
"""The square of a larger number is hardly a float64 any more."""
UNDEFINED: Final = "the known labels are all the same"
"""Why a metric that needs two kinds of labels cannot be had."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One realised metric: its value and interval; or None, and why it cannot be had."""

    metric: str
    value: float | None
    bounds: Interval | None = None
    note: str = ""


def interval(
    metric: str, value: float, y: NDArray[np.float64], p: NDArray[np.float64], *, task: TaskName = "binary"
) -> Interval | None:
    """The 95 % confidence interval of a metric.

    Args:
        metric: Which.
        value: Of these rows.
        y: Labels 0 or 1, or values.
        p: Probabilities of 1, or predicted values.
        task: What kind of model it is, with one number a row.

    Returns:
        Lower and upper bound; None for a metric without a simple one, where there are too few rows of a class, and
        where a bound is beyond a float64.
    """
    if metric == "roc_auc":
        return delong(value, y, p)
    if metric == "accuracy":
        return wald(value, y.size)
    losses = metrics.losses(metric, y, p, task=task)
    return None if losses is None else of_a_mean(metric, value, losses)


def wald(value: float, rows: float) -> Interval:
    """The interval of a share of rows."""
    half = Z95 * (value * (1 - value) / max(rows, 1)) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)


def of_a_mean(metric: str, value: float, losses: NDArray[np.float64]) -> Interval | None:
    """The interval of the mean of what each row has; for `rmse`, of its root."""
    if losses.size <= 1:
        return None
    if metric == "rmse" and value > _LARGEST_ROOT:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        mean, half = value**2 if metric == "rmse" else value, Z95 * float(losses.std(ddof=1)) / losses.size**0.5
    if not math.isfinite(mean + half):
        return None
    kind = metric_of(metric)
    lower, upper = max(kind.least, mean - half), min(mean + half, kind.greatest)
    return (lower**0.5, upper**0.5) if metric == "rmse" else (lower, upper)


def delong(value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """The interval of an AUC by its DeLong variance; None where a class has fewer than two rows.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44, 1988; computed from midranks in O(n log n) as by Sun and Xu, "Fast
    implementation of DeLong's algorithm", IEEE Signal Processing Letters 21, 2014. A positive row's midrank among all
    rows less that among the positive ones is the number of negative rows below it, ties as a half: the structural
    components, whose variances over both classes add up to that of the AUC.
    """
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
