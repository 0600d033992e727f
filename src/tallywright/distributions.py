"""Quantiles of the beta distribution and of Student's t, written out, so that scoring and monitoring need no scipy.

The regularised incomplete beta function is the continued fraction of DLMF 8.17.22 (https://dlmf.nist.gov/8.17#v), its
inverse is found by halving.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

_TERMS: Final = 100_000
_TINY: Final = 1e-300
_PRECISION: Final = 1e-15


@lru_cache(maxsize=256)
def student_point(tail: float, freedom: float) -> float:
    """The point that a variable of Student's t exceeds with a probability `tail`, more than 0 and at most a half.

    By its relation to the beta distribution: freedom / (freedom + t**2) has one of freedom / 2 and a half.
    """
    share = beta_quantile(2 * tail, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - share) / share) if share > 0 else math.inf


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The point below which a variable of the beta distribution of `a` and `b` lies with a probability."""
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
