"""Distances between two profiles, and how far the days of the reference are from one another.

Training and monitoring use the same functions, so that a day's figure and the bound it is compared with are computed
alike. The rows of a day are not independent (one weather, one rolling rate for all of them), so a day differs from four
months by more than a formula for independent rows expects. By how much, the reference's own days show.

The variant, so that a stored figure can be compared with another tool's: cells are the frozen ones of the definition
(nothing is binned again), nulls are left out, shares are count / sum of counts. PSI: a share below 1e-4 on either side
is taken as 1e-4, without renormalising, because the logarithm of an empty cell is infinite. Jensen-Shannon: base 2, the
distance (the root of the divergence, 0 to 1), no smoothing. An empty side has no distribution: the distance is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from tallywright.profiles.profile import SCORE
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from tallywright.profiles.profile import Profile

SMALLEST_SHARE: Final = 1e-4


def psi(reference_counts: ArrayLike, current_counts: ArrayLike) -> float:
    """The population stability index: 0 for equal shares, symmetric; NaN when a side has no rows.

    It is the symmetrised Kullback-Leibler divergence (Kullback and Leibler, "On information and sufficiency", 1951),
    as used for score cards (Siddiqi, "Credit risk scorecards", 2006).
    """
    reference, current = _shares(reference_counts, current_counts)
    # A cell that is empty on both sides has equal floors, and adds 0.
    reference, current = np.maximum(reference, SMALLEST_SHARE), np.maximum(current, SMALLEST_SHARE)
    return float(np.sum((current - reference) * np.log(current / reference)))


def js_distance(reference_counts: ArrayLike, current_counts: ArrayLike) -> float:
    """The Jensen-Shannon distance, base 2, between 0 and 1; NaN when a side has no rows.

    It is the root of Lin's divergence ("Divergence measures based on the Shannon entropy", 1991), because the root is a
    metric (Endres and Schindelin, "A new metric for probability distributions", 2003).
    """
    reference, current = _shares(reference_counts, current_counts)
    if np.isnan(reference).any() or np.isnan(current).any():
        return float("nan")
    middle = (reference + current) / 2
    divergence = (_kullback_leibler(reference, middle) + _kullback_leibler(current, middle)) / 2
    # Rounding may leave a divergence of equal shares a hair below 0, of disjoint ones above 1.
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def _kullback_leibler(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log2(p[held] / q[held])))


def _shares(reference_counts: ArrayLike, current_counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reference, current = np.asarray(reference_counts, np.float64), np.asarray(current_counts, np.float64)
    if reference.shape != current.shape or reference.ndim != 1:
        raise ValueError(f"counts of the same cells are needed; found shapes {reference.shape} and {current.shape}")
    return _share(reference), _share(current)


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    total = counts.sum()
    return counts / total if total > 0 else np.full(counts.shape, np.nan)


class ReferenceDays(Record):
    """The distances of each day of the reference from all its other days, ascending, by column and metric.

    `days` are those that were large enough to be compared at training. A column's list is shorter than that when the
    column had no value on some of them. `sizes` are the rows of every day, in the order of the dates, and `every` the
    distances in that order, null where there is none: which days are large enough is decided when a day is judged.
    Packages of before have neither, and keep to `days`.
    """

    definition_digest: str
    days: tuple[date, ...]
    values: dict[str, dict[str, tuple[float, ...]]]
    sizes: tuple[int, ...] = ()
    every: dict[str, dict[str, tuple[float | None, ...]]] = Field(default_factory=dict)

    @classmethod
    def learn(cls, profiles: Mapping[date, Profile], *, min_rows: int = 1) -> ReferenceDays:
        """Compares each day with the sum of all the others.

        Args:
            profiles: Every day of the reference, counted by one definition; at least one.
            min_rows: A day with fewer rows is too noisy to be compared; it counts among the others only.
        """
        whole = reduce(add, profiles.values())
        large = {day: profile for day, profile in sorted(profiles.items()) if profile.rows >= min_rows}
        return cls(
            definition_digest=whole.definition_digest,
            days=tuple(large),
            values={column: _ascending(_leave_one_out(whole, large, column)) for column in (*whole.columns, SCORE)},
            sizes=tuple(profile.rows for _, profile in sorted(profiles.items())),
            every={
                column: _leave_one_out(whole, dict(sorted(profiles.items())), column)
                for column in (*whole.columns, SCORE)
            },
        )

    def large(self, min_rows: int) -> int:
        """How many days have at least `min_rows` rows; of packages of before, how many had enough at training."""
        return sum(size >= min_rows for size in self.sizes) if self.sizes else len(self.days)

    def bound(self, column: str, metric: str, quantile: float, min_rows: int | None = None) -> float | None:
        """The value that the share `quantile` of the days does not exceed; None when no day had a value.

        With `min_rows`, of the days that have at least so many rows, where their sizes are known.

        An order statistic: if the next day is exchangeable with these, it exceeds the largest of n values with
        probability 1 / (n + 1), and this one with about 1 - quantile (the argument of conformal prediction: Vovk,
        Gammerman and Shafer, "Algorithmic learning in a random world", 2005).
        """
        values: Sequence[float] = self.values.get(column, {}).get(metric, ())
        if min_rows is not None and self.sizes:
            pairs = zip(self.every.get(column, {}).get(metric, ()), self.sizes, strict=False)
            values = sorted(value for value, size in pairs if value is not None and size >= min_rows)
        return values[max(math.ceil(quantile * len(values)), 1) - 1] if values else None


def _leave_one_out(whole: Profile, days: Mapping[date, Profile], column: str) -> dict[str, tuple[float | None, ...]]:
    """Each day's distances from all the others by metric, in the order of the days; None where there is none."""
    everything, found = Side.of(whole, column), []
    for profile in days.values():
        day = Side.of(profile, column)
        others = everything - day
        found.append(distances(others, day) if others.rows and day.rows else {})  # without rows there are no shares
    metrics = dict.fromkeys(metric for values in found for metric in values)
    return {metric: tuple(values.get(metric) for values in found) for metric in metrics}


def _ascending(values: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[float, ...]]:
    return {metric: tuple(sorted(one for one in found if one is not None)) for metric, found in values.items()}


SHAPES: Final[Mapping[str, Callable[..., float]]] = {"psi": psi, "js": js_distance}
"""The metrics of the distribution of values; the others, `null_share` and `unseen_share`, count missing ones."""


@dataclass(frozen=True, slots=True)
class Side:
    """The counts of one column's profile that a comparison needs; they can be subtracted, exactly.

    `counts` are those of `Profile.counts`. `failed` maps the metrics that the column has beside its shape to the rows
    they count; the score has none.
    """

    rows: int
    counts: NDArray[np.int64]
    failed: Mapping[str, int]

    @classmethod
    def of(cls, profile: Profile, column: str) -> Side:
        """The column's side; the name `prediction` means the score."""
        found, failed = profile.column(column), {}
        if column != SCORE:
            failed["null_share"] = found.nulls
            if found.kind == "categorical":
                failed["unseen_share"] = found.unseen
        return cls(profile.rows, profile.counts(column), failed)

    def __sub__(self, part: Side) -> Side:
        """This side without some of its own rows."""
        failed = {metric: count - part.failed[metric] for metric, count in self.failed.items()}
        return Side(self.rows - part.rows, self.counts - part.counts, failed)

    @property
    def values(self) -> int:
        """The rows that have a value."""
        return int(self.counts.sum())

    def share(self, metric: str) -> float:
        """The share of rows that `metric` counts; 0 for no rows."""
        return self.failed[metric] / self.rows if self.rows else 0.0


def distances(reference: Side, day: Side) -> dict[str, float]:
    """The distances by metric: of the distribution, and by how much the shares of failed rows exceed the reference's.

    Where a side has no value at all there is no distribution; the null share shows that.
    """
    found: dict[str, float] = {}
    if reference.values and day.values:
        found |= {metric: distance(reference.counts, day.counts) for metric, distance in SHAPES.items()}
    return found | {metric: day.share(metric) - reference.share(metric) for metric in day.failed}
