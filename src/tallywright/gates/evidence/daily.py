"""A metric of several days and of all of them but one, in turn: what a jackknife over days needs, for one pass.

Rows of one day share their day, so the unit of evidence is the day. A mean is kept as a sum and a count by day, and AUC
as the wins of each day's positives over each day's negatives: a value without a day is then a subtraction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from tallywright.class_metrics import ClassCounts, kind_of, place_of
from tallywright.metrics import calibration_gaps, predicted_classes
from tallywright.metrics import losses as row_losses
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallywright.spec.sections import Costs
    from tallywright.tasks import Metric, TaskName

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

    def gain_over(self, other: DailyMetric, metric: Metric) -> DailyMetric:
        """How much better this one is than another of the same days; positive is better for every metric."""
        return DailyMetric(
            metric.goodness(self.value) - metric.goodness(other.value),
            metric.goodness(self.without) - metric.goodness(other.without),
        )


def daily_metric(  # noqa: PLR0913 - what `evaluate` takes, and the days
    metric: str,
    target: Floats,
    scores: Floats,
    days: Days,
    *,
    task: TaskName,
    threshold: float = 0.5,
    classes: Sequence[str] = (),
    costs: Costs | None = None,
) -> DailyMetric:
    """A metric as `metrics.evaluate` has it, over all days and without each of them.

    Args:
        metric: One of the task's.
        target: Labels 0 and 1, class numbers, or values, [rows].
        scores: [rows], or [rows, classes] of a multiclass model.
        days: The day of each row: integers 0, 1, 2, … in the order of time, none left out.
        task: What kind of model it is.
        threshold: Of a binary model: the least probability that predicts 1.
        classes: The names of a multiclass model's classes, for the metrics of one of them.
        costs: Of a binary model's wrong decisions, for what is expected of them.

    Raises:
        KeyError: The task has no such metric, or the model no such class.
    """
    kind = TASKS[task]
    if not kind.has_metric(metric, costs=costs is not None):
        raise KeyError(metric)
    count = int(days.max(initial=-1)) + 1
    losses = row_losses(metric, target, scores, task=task, threshold=threshold, costs=costs)
    if losses is not None:
        return _of_sums(days, count, losses[:, None], _root if metric == "rmse" else _mean)
    if kind.per_class:
        return _of_classes(metric, target.astype(np.int64), scores, (days, count), classes)
    if metric == "roc_auc":
        return _auc_of(target == 1, scores, days, count)
    if metric == "r2":
        return _of_sums(days, count, *_explained(target, scores))
    return _of_sums(days, count, calibration_gaps(target, scores), _gap)


def _of_classes(metric: str, target: Days, scores: Floats, by: tuple[Days, int], classes: Sequence[str]) -> DailyMetric:
    """A metric of a multiclass model that is no mean of rows; means over classes are over those of all days."""
    days, count = by
    chosen, confidence = predicted_classes(scores)
    if metric == "calibration_error":
        return _of_sums(days, count, calibration_gaps(chosen == target, confidence), _gap)
    if kind_of(metric) == "auc":
        place = place_of(metric, classes)
        return _auc_of(target == place, scores[:, place], days, count)
    if metric == "macro_auc":
        known = [place for place in range(scores.shape[1]) if (target == place).any()]
        each = [_auc_of(target == place, scores[:, place], days, count) for place in known]
        if not each:
            return DailyMetric(math.nan, np.full(count, math.nan))
        return DailyMetric(float(np.mean([one.value for one in each])), np.mean([one.without for one in each], axis=0))
    counts = ClassCounts.by_day(target, chosen, days, (count, scores.shape[1]))
    whole = counts.whole()
    present = whole.actual > 0
    value = float(whole.value(metric, classes, present))
    return DailyMetric(value, counts.without_each_day().value(metric, classes, present))


def _auc_of(positive: npt.NDArray[np.bool_], scores: Floats, days: Days, count: int) -> DailyMetric:
    target = positive.astype(np.float64)
    return _auc(pair_wins(target, scores, days, count), target, days)


def pair_wins(target: Floats, scores: Floats, days: Days, count: int) -> Days:
    """Twice the wins of each day's positives over each day's negatives, a tie a half: [days, days] whole numbers.

    Their sum over twice the pairs is AUC (`metrics.roc_auc`). It costs one sorting, and for each day a count over the
    rows of the rarer class.
    """
    positive = target == 1
    positives, negatives = _Ranked.of(scores, days, positive), _Ranked.of(scores, days, ~positive)
    if len(positives.days) <= len(negatives.days):
        return _wins(positives, negatives, count)
    pairs = np.outer(np.bincount(positives.days, minlength=count), np.bincount(negatives.days, minlength=count))
    return np.asarray(_TWICE * pairs - _wins(negatives, positives, count).T)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Rows of one class in the order of their scores."""

    scores: Floats
    days: Days

    @classmethod
    def of(cls, scores: Floats, days: Days, chosen: npt.NDArray[np.bool_]) -> _Ranked:
        order = np.argsort(scores[chosen], kind="stable")
        return cls(scores[chosen][order], days[chosen][order])


def _wins(winners: _Ranked, others: _Ranked, count: int) -> Days:
    """Twice the wins of `winners` over `others`, by the days of both."""
    levels, level = np.unique(winners.scores, return_inverse=True)
    above = np.searchsorted(levels, others.scores, side="right")
    first = np.searchsorted(levels, others.scores, side="left")
    tied = first < above
    wins = np.zeros((count, count), np.int64)
    for day in range(count):
        of_day = others.days == day
        below = np.cumsum(np.bincount(above[of_day], minlength=len(levels) + 1))[:-1]
        equal = np.bincount(first[of_day & tied], minlength=len(levels))
        # Sums of whole numbers below 2**53, which a float64 holds exactly.
        wins[:, day] = np.bincount(winners.days, weights=(_TWICE * below + equal)[level], minlength=count)
    return wins


def _auc(wins: Days, target: Floats, days: Days) -> DailyMetric:
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
