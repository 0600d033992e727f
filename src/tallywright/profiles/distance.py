"""How far two profiles are apart: PSI and the Jensen-Shannon distance of counts over the same cells.

The variant, so that a stored figure can be compared with another tool's: cells are the frozen ones of the definition
(nothing is binned again), nulls are left out, shares are count / sum of counts. PSI: a share below 1e-4 on either side
is taken as 1e-4, without renormalising. Jensen-Shannon: base 2, the distance (the root of the divergence, 0 to 1),
no smoothing. An empty side has no distribution: the distance is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SMALLEST_SHARE: Final = 1e-4


def psi(reference_counts: ArrayLike, current_counts: ArrayLike) -> float:
    """The population stability index: 0 for equal shares, symmetric; NaN when a side has no rows."""
    reference, current = _shares(reference_counts, current_counts)
    # A cell that neither side has says nothing; equal floors make it 0 by themselves.
    reference, current = np.maximum(reference, SMALLEST_SHARE), np.maximum(current, SMALLEST_SHARE)
    return float(np.sum((current - reference) * np.log(current / reference)))


def js_distance(reference_counts: ArrayLike, current_counts: ArrayLike) -> float:
    """The Jensen-Shannon distance, base 2, between 0 and 1; NaN when a side has no rows."""
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
