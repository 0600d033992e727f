"""Two-sided 95 % intervals of a mean and of a share, from whole numbers, so that they are the same on every engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tallywright.distributions import beta_quantile, student_point

_TAIL: Final = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its bounds, and the rows that it is of."""

    value: float
    lower: float
    upper: float
    rows: int


def mean_interval(rows: int, total: int, squares: int, bits: int) -> Interval | None:
    """Student's interval of a mean, mean +- t(n - 1) * s / sqrt(n).

    "The probable error of a mean", Biometrika 6, 1908.

    Args:
        rows: How many values; below two there is no interval.
        total: Their sum, in units of 2**-bits.
        squares: The sum of their squares, in the square of that unit.
        bits: Of the unit.
    """
    if rows <= 1:
        return None
    # Whole numbers up to the division: no cancellation.
    variance = (rows * squares - total**2) / (rows * (rows - 1))
    unit = 2.0**-bits
    mean, half = total / rows * unit, student_point(_TAIL, rows - 1) * math.sqrt(variance / rows) * unit
    return Interval(mean, mean - half, mean + half, rows)


def share_interval(count: int, rows: int) -> Interval:
    """The exact interval of a share.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika
    26, 1934: a bound is the share at which as many, or as few, have a probability of 2.5 %. It holds at every n.
    """
    if not rows:
        return Interval(0.0, 0.0, 1.0, 0)
    lower = beta_quantile(_TAIL, count, rows - count + 1) if count else 0.0
    upper = beta_quantile(1 - _TAIL, count + 1, rows - count) if count < rows else 1.0
    return Interval(count / rows, lower, upper, rows)
