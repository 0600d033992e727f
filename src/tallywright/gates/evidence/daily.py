"""A metric of several days and of all of them but one, in turn: what a jackknife over days needs, for one pass.

Rows of one day share their day, so the unit of evidence is the day. A mean is kept as a sum and a count by day, and AUC
as the wins of each day's positives over each day's negatives: a value without a day is then a subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from tallywright.metrics import calibration_gaps
from tallywright.metrics import losses as row_losses
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.tasks import TaskName

Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]
_TWICE: Final = 2
"""Wins are counted twice, so that ties are whole numbers too."""


@dataclass(frozen=True, slots=True)
class DailyMetric:
    """A metric over all days, and `without` each of them, in their order; NaN where the rows do not define it."""

    value: float
    without: Floats

    @property
    def days(self) -> int:
        """How many days there are."""
        return len(self.without)

    def minus(self, other: DailyMetric) -> DailyMetric:
        """The difference of two metrics of the same days."""
        return DailyMetric(self.value - other.value, self.without - other.without)


def daily_metric(  # noqa: PLR0913 - what `metrics.evaluate` is given, and the days
    metric: str, target: Floats, scores: Floats, days: Days, *, task: TaskName, threshold: float = 0.5
) -> DailyMetric:
    """A metric as `metrics.evaluate` has it, over all days and without each of them.

    Args:
        metric: One of the task's.
        target: Labels 0 and 1, class numbers, or values, [rows].
        scores: [rows], or [rows, classes] of a multiclass model.
        days: The day of each row: integers 0, 1, 2, … in the order of time, none left out.
        task: What kind of model it is.
        threshold: Of a binary model: the least probability that predicts 1.

    Raises:
        KeyError: The task has no such metric.
    """
    if metric not in TASKS[task].metrics:
        raise KeyError(metric)
    count = int(days.max(initial=-1)) + 1
    if metric == "roc_auc":
        return _auc(pair_wins(target, scores, days, count), target, days)
    if metric == "r2":
        return _of_sums(days, count, *_explained(target, scores))
    if metric == "calibration_error":
        return _of_sums(days, count, calibration_gaps(target, scores), _gap)
    losses = row_losses(metric, target, scores, task=task, threshold=threshold)
    if losses is None:
        raise KeyError(metric)
    return _of_sums(days, count, losses[:, None], _root if metric == "rmse" else _mean)


def pair_wins(target: Floats, scores: Floats, days: Days, count: int) -> npt.NDArray[np.int64]:
    """Twice the wins of each day's positives over each day's negatives, a tie a half: [days, days] whole numbers.

    Their sum over twice the pairs is AUC (Hanley and McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143, 1982). It costs one sorting, and a running count for each day.
    """
    order = np.argsort(scores, kind="stable")
    ranked, day = scores[order], days[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ends = np.append(starts[1:], len(ranked))
    tied = np.repeat(np.arange(len(starts)), ends - starts)
    positive = target[order] == 1
    of_positives, tied_with = day[positive], tied[positive]
    wins = np.zeros((count, count), np.int64)
    for other in range(count):
        below = np.concatenate([[0], np.cumsum(~positive & (day == other), dtype=np.int64)])
        doubled = below[starts] + below[ends]
        # Sums of whole numbers below 2**53, which a float64 holds exactly.
        wins[:, other] = np.bincount(of_positives, weights=doubled[tied_with], minlength=count)
    return wins


def _auc(wins: npt.NDArray[np.int64], target: Floats, days: Days) -> DailyMetric:
    count = len(wins)
    positives = np.bincount(days[target == 1], minlength=count)
    negatives = np.bincount(days, minlength=count) - positives
    pairs = _TWICE * positives.sum() * negatives.sum()
    left = wins.sum() - wins.sum(axis=0) - wins.sum(axis=1) + wins.diagonal()
    pairs_left = _TWICE * (positives.sum() - positives) * (negatives.sum() - negatives)
    with np.errstate(invalid="ignore", divide="ignore"):
        return DailyMetric(float(np.divide(wins.sum(), pairs)), left / pairs_left)


def _of_sums(days: Days, count: int, values: Floats, of: Callable[[Floats], Floats]) -> DailyMetric:
    """A metric that is a function of the rows' sums of some values, [rows, values], and of their number."""
    counted = np.column_stack([np.ones(len(days)), values])
    sums = np.stack([np.bincount(days, weights=column, minlength=count) for column in counted.T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return DailyMetric(float(of(sums.sum(axis=0))), of(sums.sum(axis=0) - sums))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _root(sums: Floats) -> Floats:
    return np.sqrt(_mean(sums))


def _gap(sums: Floats) -> Floats:
    return np.asarray(np.abs(sums[..., 1:]).sum(axis=-1) / sums[..., 0])


def _explained(target: Floats, scores: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """R2: one less the share of the target's variance that is left; NaN where the target does not vary."""
    centred = target - target.mean()  # sums of squares of large values would lose their digits

    def explained(sums: Floats) -> Floats:
        rows, total, squares, errors = (sums[..., column] for column in range(4))
        variance = squares / rows - (total / rows) ** 2
        return np.asarray(1 - errors / rows / np.where(variance > 0, variance, np.nan))

    return np.column_stack([centred, centred**2, (scores - target) ** 2]), explained
