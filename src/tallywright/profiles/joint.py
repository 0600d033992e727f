"""Rows and scores counted by the cells of several columns together: one pass over the rows serves them all."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_MOST_CELLS: Final = 4096
"""Combinations of a group at most: their sums stay in the processor's first cache."""
_PACK: Final = 2.0**38
"""A row's weight is `_PACK + score`: one counting pass gives counts (high part) and score sums (low part).
With up to 2**14 rows a pass, and scores up to 2**22, all are whole numbers below 2**53: float64 arithmetic on them is
exact, and its order has no influence."""


class JointCounts:
    """Counts and score sums of every combination of the cells of some columns; a column's own are sums of them.

    Args:
        sizes: How many cells each column has.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        combinations = prod(sizes)
        self._dtype = np.min_scalar_type(combinations - 1)
        self._counts = np.zeros(combinations, dtype=np.int64)
        self._sums = np.zeros(combinations, dtype=np.int64)

    def add(self, cells: Sequence[NDArray[np.integer]], weights: NDArray[np.float64]) -> None:
        """Counts up to 2**14 rows, given the cells of each column and `weights_of` their scores."""
        joint = cells[0].astype(self._dtype)
        for size, own in zip(self._sizes[1:], cells[1:], strict=True):
            joint *= self._dtype.type(size)
            joint += own.astype(self._dtype, copy=False)
        packed = np.bincount(joint, weights=weights, minlength=self._counts.size)
        counts = np.rint(packed * (1 / _PACK))
        self._counts += counts.astype(np.int64)
        self._sums += (packed - counts * _PACK).astype(np.int64)

    def columns(self) -> Iterator[tuple[list[int], list[int]]]:
        """Counts and score sums by the cells of each column."""
        counts, sums = self._counts.reshape(self._sizes), self._sums.reshape(self._sizes)
        for place in range(len(self._sizes)):
            others = tuple(other for other in range(len(self._sizes)) if other != place)
            yield counts.sum(axis=others).tolist(), sums.sum(axis=others).tolist()


def weights_of(scores: NDArray[Any]) -> NDArray[np.float64]:
    """What rows weigh in `JointCounts.add`; scores in whole units, up to `SCORE_LIMIT` of them."""
    weights = scores.astype(np.float64)
    weights += _PACK
    return weights


def groups_of(sizes: Sequence[int]) -> list[range]:
    """Neighbouring columns (by place) to be counted together; one with very many cells stays alone."""
    groups: list[range] = []
    start, combinations = 0, 1
    for place, size in enumerate(sizes):
        if place > start and combinations * size > _MOST_CELLS:
            groups.append(range(start, place))
            start, combinations = place, 1
        combinations *= size
    if len(sizes) > start:
        groups.append(range(start, len(sizes)))
    return groups
