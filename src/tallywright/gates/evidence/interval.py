"""Bounds of a metric from its days: a jackknife with Student's t, inflated where days resemble their neighbours.

Rows of one day share their day, so `D` days are `D` observations, however many rows they have. The jackknife turns a
metric that is no mean (AUC, R2) into one pseudo-value a day (Efron and Tibshirani, "An introduction to the bootstrap",
1993, chapter 11). Fewer than ten days resampled by a bootstrap miss 29 to 39 % on each side of a nominal 5 %; t(D - 1)
over pseudo-values misses the nominal share where days are alike.

Where a day resembles the day before, the mean of D days varies more than D independent ones would: by the factor
(1 + r) / (1 - r) for an AR(1) of correlation r (Box, Jenkins and Reinsel, "Time series analysis", 2008, section 2.1).
r is estimated from the pseudo-values. That estimate is too low by about (1 + 3 r) / D (Kendall, "Note on bias in the
estimation of autocorrelation", Biometrika 41, 1954) and uncertain besides, so twice the bias is added, and a negative r
counts as none: bounds then miss somewhat less than they say where days are alike. The rates that were measured stand in
`docs/gates.md`.

Two samples of days (a holdout, and days of shadow scoring) give one estimate: the mean of both, weighted by their days,
with the degrees of freedom of Welch and Satterthwaite ("An approximate distribution of estimates of variance
components", Biometrics Bulletin 2, 1946). Weights that are not estimated from the same days keep the level.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.distributions import student_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.evidence.daily import DailyMetric, Floats

MIN_DAYS: Final = 6
"""Fewer days are no evidence: their t is wide, and how they resemble one another cannot be seen."""
_MOST_CORRELATION: Final = 0.85
_LEAST_SHARE: Final = 0.2
_MOST_DAYS: Final = 3_650


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its standard error.

    Attributes:
        value: Of all rows.
        error: The standard error, in the figure's unit.
        freedom: Degrees of freedom of Student's t.
        days: How many days it is from.
        inflation: How much the variance was multiplied by, because days resemble their neighbours; 1 is not at all.
    """

    value: float
    error: float
    freedom: float
    days: int
    inflation: float = 1.0

    def lower(self, level: float) -> float:
        """The bound that the true figure is below with a probability of `level`, more than 0 and at most a half."""
        return self.value - self._reach(level)

    def upper(self, level: float) -> float:
        """The bound that the true figure is above with a probability of `level`."""
        return self.value + self._reach(level)

    def _reach(self, level: float) -> float:
        return student_point(level, self.freedom) * self.error if self.error else 0.0


def jackknife(metric: DailyMetric) -> Estimate | None:
    """The estimate of a metric from its days; None where they are fewer than `MIN_DAYS`, or a value is not defined."""
    days, without = metric.days, metric.without
    if days < MIN_DAYS or not (math.isfinite(metric.value) and np.isfinite(without).all()):
        return None
    pseudo = days * metric.value - (days - 1) * without
    variance = float(pseudo.var(ddof=1))
    inflation = _inflation(pseudo) if variance > 0 else 1.0
    return Estimate(metric.value, math.sqrt(inflation * variance / days), days - 1, days, inflation)


def combined(estimates: Sequence[Estimate]) -> Estimate | None:
    """The mean of independent estimates of one figure, weighted by their days; None of none."""
    days = sum(one.days for one in estimates)
    if len(estimates) <= 1:
        return estimates[0] if estimates else None
    shares = [one.days / days for one in estimates]
    parts = [(share * one.error) ** 2 for share, one in zip(shares, estimates, strict=True)]
    variance = sum(parts)
    spread = sum(part**2 / one.freedom for part, one in zip(parts, estimates, strict=True))
    return Estimate(
        value=sum(share * one.value for share, one in zip(shares, estimates, strict=True)),
        error=math.sqrt(variance),
        freedom=variance**2 / spread if spread > 0 else sum(one.freedom for one in estimates),
        days=days,
        inflation=sum(share * one.inflation for share, one in zip(shares, estimates, strict=True)),
    )


def days_needed(gain: float, noise: float, level: float) -> int | None:
    """How many days would show a gain in half of all cases; None where ten years would not.

    Args:
        gain: The true gain beyond what has to be exceeded, in the figure's unit; more than 0.
        noise: The standard deviation of one day's gain: a standard error times the root of its days.
        level: At which it has to be shown.
    """
    few = range(MIN_DAYS, _MOST_DAYS)
    # The more days, the less noise and the nearer the point of Student's t: from some number of days on it is shown.
    first = bisect_left(few, True, key=lambda days: gain * math.sqrt(days) >= student_point(level, days - 1) * noise)
    return few[first] if first < len(few) else None


def _inflation(pseudo: Floats) -> float:
    """By how much an AR(1) with the correlation of these days widens the variance of their mean."""
    days = len(pseudo)
    centred = pseudo - pseudo.mean()
    found = float(centred[1:] @ centred[:-1] / (centred @ centred))
    r = min(max(found + 2 * (1 + 3 * max(found, 0.0)) / days, 0.0), _MOST_CORRELATION)
    # The mean of a finite stretch varies by less than (1 + r) / (1 - r), and so does the variance found within it.
    factor = (1 + r) / (1 - r) * (1 - 2 * r * (1 - r**days) / (days * (1 - r**2)))
    return max(1.0, factor / max(1 - (factor - 1) / (days - 1), _LEAST_SHARE))
