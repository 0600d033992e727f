"""Two-sided 95 % intervals of a mean and of a share, from whole numbers, so that they are the same on every engine.

Both need quantiles of a beta distribution, which are written out here, so that scoring needs no scipy: the regularised
incomplete beta function by the continued fraction of DLMF 8.17.22 (https://dlmf.nist.gov/8.17#v), its inverse by
halving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_TAIL: Final = 0.025
_TERMS: Final = 100_000
_TINY: Final = 1e-300
_PRECISION: Final = 1e-15


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
    mean, half = total / rows * unit, _student(rows - 1) * math.sqrt(variance / rows) * unit
    return Interval(mean, mean - half, mean + half, rows)


def share_interval(count: int, rows: int) -> Interval:
    """The exact interval of a share.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika
    26, 1934: a bound is the share at which as many, or as few, have a probability of 2.5 %. It holds at every n.
    """
    if not rows:
        return Interval(0.0, 0.0, 1.0, 0)
    lower = _beta_quantile(_TAIL, count, rows - count + 1) if count else 0.0
    upper = _beta_quantile(1 - _TAIL, count + 1, rows - count) if count < rows else 1.0
    return Interval(count / rows, lower, upper, rows)


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t: freedom / (freedom + t**2) has a beta distribution of freedom / 2 and a half."""
    share = _beta_quantile(2 * _TAIL, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - share) / share)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    lower, upper = 0.0, 1.0
    while True:
        middle = (lower + upper) / 2
        if middle in {lower, upper}:
            return middle
        if _beta_cdf(middle, a, b) < probability:
            lower = middle
        else:
            upper = middle


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, from the side on which its fraction converges quickly."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    if x <= 0:
        return 0.0
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), by the method of Lentz as Thompson and Barnett changed it."""
    value = above = 1.0
    below = 0.0
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        above, below = 1 + d / above or _TINY, 1 / (1 + d * below or _TINY)
        value *= above * below
        if abs(above * below - 1) < _PRECISION:
            break
    return value
