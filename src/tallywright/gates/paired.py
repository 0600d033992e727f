"""The paired bootstrap: the gain of a candidate over the champion on the same rows, with one-sided bounds.

Bounds are percentiles of the replicates' gains (Efron and Tibshirani, "An introduction to the bootstrap", 1993). Whole
days are resampled where there are enough of them (the cluster bootstrap: Davison and Hinkley, "Bootstrap methods and
their application", 1997, section 3.8), because the rows of one day are correlated, and resampling single rows would
give too narrow bounds. All replicates are computed at once; the AUC of a replicate is a weighted rank sum over the one
sorting of the original rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from tallywright.metrics import losses as row_losses
from tallywright.tasks import TASKS, TaskName

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Weights [replicates, rows] to the metric of each replicate."""

_CHUNK_CELLS: Final = 2_000_000
_MIN_DAYS: Final = 10
"""With fewer days there are too few different replicates; single rows are resampled instead."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """The settings by which bootstrap replicates are drawn.

    Attributes:
        replicates: How many.
        confidence: Of the one-sided bounds; 0.95 puts 5 % below `lower` and 5 % above `upper`.
        seed: Any text, such as the digests of what is compared: equal texts, equal replicates.
        days: The day of each row as integers 0, 1, 2, …; None resamples single rows.
    """

    replicates: int
    confidence: float
    seed: str
    days: npt.NDArray[np.int64] | None = None

    @property
    def unit(self) -> str:
        """The unit that is resampled: `day` or `row`."""
        return "day" if self.days is not None and int(self.days.max(initial=-1)) + 1 >= _MIN_DAYS else "row"

    def of_rows(self, chosen: npt.NDArray[np.bool_]) -> Resampling:
        """The same settings for some of the rows, with their days renumbered."""
        if self.days is None:
            return self
        return replace(self, days=np.unique(self.days[chosen], return_inverse=True)[1].astype(np.int64))

    def weights(self, rows: int) -> Iterator[Array]:
        """How often each row occurs in each replicate, in chunks [replicates, rows] of bounded size."""
        seed = int.from_bytes(hashlib.sha256(self.seed.encode()).digest()[:16], "big")
        generator = np.random.Generator(np.random.PCG64(seed))
        groups = self.days if self.days is not None and self.unit == "day" else np.arange(rows)
        count = int(groups.max()) + 1
        chunk = max(1, _CHUNK_CELLS // max(rows, count))
        for start in range(0, self.replicates, chunk):
            size = min(chunk, self.replicates - start)
            drawn = generator.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
            times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
            yield times[:, groups].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain of a candidate over the champion in one metric, with its bounds; positive is better for every metric."""

    candidate: float
    champion: float
    lower: float
    upper: float
    higher_is_better: bool

    @property
    def gain(self) -> float:
        """The gain on all rows, without resampling."""
        difference = self.candidate - self.champion
        return difference if self.higher_is_better else -difference


def statistic(
    metric: str, target: Array, scores: Array, *, task: TaskName | None = None, threshold: float = 0.5
) -> Statistic:
    """The metric as a function of row weights.

    Args:
        metric: One of the task's.
        target: Labels 0 and 1, class numbers, or values.
        scores: [rows], or [rows, classes] of a multiclass model.
        task: What kind of model it is; when not given, the first that has the metric.
        threshold: Of a binary model: the least probability that predicts 1.

    Raises:
        KeyError: A metric that has no weighted form here.
    """
    kind = TASKS[task] if task else next((one for one in TASKS.values() if metric in one.metrics), None)
    if kind is None or metric not in kind.metrics:
        raise KeyError(metric)
    if metric == "roc_auc":
        return _auc(target, scores)
    if metric == "r2":
        return _explained(target, scores)
    losses = row_losses(metric, target, scores, task=kind.name, threshold=threshold)
    if losses is None:
        raise KeyError(metric)
    found: Array = losses

    def mean(weights: Array) -> Array:
        value: Array = weights @ found / weights.sum(axis=1)
        return np.sqrt(value) if metric == "rmse" else value

    return mean


def paired_gain(candidate: Statistic, champion: Statistic, rows: int, how: Resampling, *, higher: bool) -> Gain:
    """The gain of the candidate with its one-sided bootstrap bounds; NaN bounds where a replicate has no value."""
    sign = 1.0 if higher else -1.0
    once = np.ones((1, rows))
    differences = np.concatenate([sign * (candidate(w) - champion(w)) for w in how.weights(rows)])
    lower, upper = np.quantile(differences, [1 - how.confidence, how.confidence])
    return Gain(float(candidate(once)[0]), float(champion(once)[0]), float(lower), float(upper), higher)


def _explained(target: Array, scores: Array) -> Statistic:
    """R2: one less the share of the target's variance that is left; NaN where the target does not vary."""
    centred = target - target.mean()  # sums of squares of large values would lose their digits
    errors = (scores - target) ** 2

    def explained(weights: Array) -> Array:
        total = weights.sum(axis=1)
        variance = weights @ centred**2 / total - (weights @ centred / total) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            value: Array = 1 - weights @ errors / total / np.where(variance > 0, variance, np.nan)
        return value

    return explained


def _auc(target: Array, scores: Array) -> Statistic:
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = target[order]

    def auc(weights: Array) -> Array:
        sorted_weights = weights[:, order]
        wins = np.add.reduceat(sorted_weights * positive, starts, axis=1)
        losses = np.add.reduceat(sorted_weights * (1 - positive), starts, axis=1)
        below = np.cumsum(losses, axis=1) - losses / 2  # ties count half
        with np.errstate(invalid="ignore"):
            value: Array = (wins * below).sum(axis=1) / (wins.sum(axis=1) * losses.sum(axis=1))
        return value

    return auc
