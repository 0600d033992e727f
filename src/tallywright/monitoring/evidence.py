"""How surprising a distance is, given how few rows made it: what keeps a fixed threshold from firing by chance.

A distance violates when it is above the threshold (effect) AND would seldom be so large if the true distance were at
the threshold (evidence). Numbers here are small formulas of our own, so that monitoring needs no scipy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

DAILY_FALSE_ALARM_RATE: Final = 0.05
"""With every true distance at its threshold, at most this share of days has a violation (Benjamini-Hochberg)."""

JS_PER_PSI: Final = 8 * math.log(2)
"""Near no change the JS divergence in bits is PSI over this: both become the same quadratic form."""


def noncentral_chi2_sf(value: float, freedom: float, noncentrality: float = 0.0) -> float:
    """The probability that a noncentral chi-square variable exceeds `value`.

    Sankaran's power transform to a normal variable (Biometrika 50, 1963, pp. 199-204; also Johnson, Kotz and
    Balakrishnan, Continuous Univariate Distributions 2, section 29.8). Without noncentrality it is the cube root of
    Wilson and Hilferty. Against printed tables the tail of 0.001 comes out as 0.00104 at 19 degrees of freedom and as
    0.00113 at 3: it errs on the quiet side.
    """
    if value <= 0:
        return 1.0
    k, shift = freedom, noncentrality
    h = 1 - 2 * (k + shift) * (k + 3 * shift) / (3 * (k + 2 * shift) ** 2)
    p = (k + 2 * shift) / (k + shift) ** 2
    m = (h - 1) * (1 - 3 * h)
    mean = 1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p)
    deviation = h * math.sqrt(2 * p) * (1 + 0.5 * m * p)
    return _normal_sf(((value / (k + shift)) ** h - mean) / deviation)


def psi_p_value(value: float, threshold: float, rows: tuple[int, int], cells: int) -> float:
    """How probable a PSI of `value` or more is when the true one is `threshold`.

    With no change PSI follows (1/n_reference + 1/n_current) * chi2(cells - 1); a true PSI shifts that by its own size
    over the same factor.

    Args:
        value: The PSI found.
        threshold: The PSI that is tolerated.
        rows: Rows of the reference, rows of the day.
        cells: Cells compared.
    """
    if min(rows) <= 0 or cells <= 1:
        return 1.0
    noise = 1 / rows[0] + 1 / rows[1]
    return noncentral_chi2_sf(value / noise, cells - 1, threshold / noise)


def js_p_value(value: float, threshold: float, rows: tuple[int, int], cells: int) -> float:
    """The same for a Jensen-Shannon distance (base 2), through its square."""
    return psi_p_value(JS_PER_PSI * value**2, JS_PER_PSI * threshold**2, rows, cells)


def share_p_value(count: int, rows: int, tolerated: float) -> float:
    """A bound on the probability of `count` or more of `rows` when the true share is `tolerated`.

    The Chernoff-Hoeffding bound exp(-n KL(share, tolerated)): it holds at every n, and errs on the quiet side. The
    reference has many more rows than a day; its own share is taken as exact.
    """
    if rows <= 0:
        return 1.0
    share = count / rows
    if share <= tolerated or tolerated >= 1:
        return 1.0
    if tolerated <= 0:
        return 0.0
    distance = share * math.log(share / tolerated)
    if share < 1:
        distance += (1 - share) * math.log((1 - share) / (1 - tolerated))
    return math.exp(-rows * distance)


def improbable(p_values: Sequence[float], rate: float = DAILY_FALSE_ALARM_RATE) -> list[bool]:
    """Which of a day's comparisons are evidence together: Benjamini and Hochberg's rule at `rate`."""
    ranked = sorted(p_values)
    limit = max((p for rank, p in enumerate(ranked, start=1) if p <= rate * rank / len(ranked)), default=-1.0)
    return [p <= limit for p in p_values]


def _normal_sf(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
