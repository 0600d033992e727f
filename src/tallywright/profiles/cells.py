"""Histogram cells, joint counts and exact sums: how a profile counts values.

A sum of floats depends on the order of its terms, and every engine, thread and split has another one. So values are
rounded to whole multiples of a column's own unit (fixed point), and whole numbers are summed: addition is then exact,
associative and commutative, and profiles merge to the same bits in every order. The units are powers of two, so that
scaling by them rounds nothing. Where float64 does the summing, it is within 2**53, below which it is exact (IEEE 754).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_SLOTS: Final = 4096
_MOST_EDGES_PER_SLOT: Final = 3
_FEW_EDGES: Final = 64
"""Up to so many edges, comparing with each of them is quicker than looking up (about 0.06 ns a value and edge)."""
_MOST_CELLS: Final = 4096
"""Combinations of a group at most: their sums stay in the processor's first cache."""
_PACK: Final = 2.0**38
"""A row's weight is `_PACK + score`: one counting pass gives counts (high part) and score sums (low part).
With up to 2**14 rows a pass, and scores up to 2**22, all are whole numbers below 2**53: float64 arithmetic on them is
exact, and its order has no influence."""
_EXACT: Final = 2.0**53
"""Whole numbers below this are exact in float64."""


class CellLookup:
    """Finds the cells of float32 values: the number of ascending `edges` that are not above a value.

    The range of the edges is cut into equal slots. A slot knows the cell at its left end and the few edges inside it,
    which are compared one by one. Value and edge go through the same rounded, monotone arithmetic, so an edge in an
    earlier slot is never above a value, and one in a later slot never below or equal to it: the result is exact. Where
    edges crowd into one slot (a long tail) a binary search takes over.
    """

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.cells = len(edges) + 1
        self._edges = np.array(edges, dtype=np.float32)
        self._base: NDArray[np.intp] | None = None
        if len(edges) > 1:
            self._build()

    def _build(self) -> None:
        low, high = float(self._edges[0]), float(self._edges[-1])
        with np.errstate(all="ignore"):
            self._scale = np.float32(_SLOTS / (high - low))
            self._shift = np.float32(-low * float(self._scale))
        if not (np.isfinite(self._scale) and np.isfinite(self._shift) and self._scale > 0):
            return
        slots = self._slots(self._edges)
        per_slot = np.bincount(slots, minlength=_SLOTS)
        if per_slot.max() > _MOST_EDGES_PER_SLOT:
            return
        self._base = np.concatenate([[0], np.cumsum(per_slot)[:-1]]).astype(np.intp)
        # No value is at or above NaN: an empty place counts nothing, not even for an infinite value.
        self._inside = np.full((int(per_slot.max()), _SLOTS), np.nan, dtype=np.float32)
        rank = np.arange(slots.size) - self._base[slots]
        self._inside[rank, slots] = self._edges

    def _slots(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        with np.errstate(over="ignore"):
            position = values * self._scale
            position += self._shift
        # Not `maximum`: it would keep NaN, which has no whole number.
        np.fmax(position, np.float32(0), out=position)
        np.minimum(position, np.float32(_SLOTS - 1), out=position)
        return position.astype(np.intp)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """The cells of values; infinities lie in the first and last cell, NaN in any."""
        if self._base is None:
            return np.searchsorted(self._edges, values, side="right")
        slots = self._slots(values)
        cells = self._base.take(slots, mode="clip")
        for inside in self._inside:
            cells += values >= inside.take(slots, mode="clip")
        return cells


class ColumnCells:
    """Finds the cells of many columns at once, each with edges of its own.

    Args:
        edges: Of each column, ascending.
        rows: Most rows that are asked for at once; the result is valid until the next call.
    """

    def __init__(self, edges: Sequence[tuple[float, ...]], rows: int) -> None:
        self.cells = tuple(len(own) + 1 for own in edges)
        # One cell more than there are must fit: the caller's, for nulls.
        self._cells = np.empty((len(edges), rows), dtype=np.min_scalar_type(max(self.cells, default=0)))
        self._above = np.empty((len(edges), rows), dtype=np.bool_)
        self._lookups = {place: CellLookup(own) for place, own in enumerate(edges) if len(own) > _FEW_EDGES}
        few = [() if place in self._lookups else own for place, own in enumerate(edges)]
        # No value is at or above NaN, which stands where a column has fewer edges than another.
        self._edges = np.full((max(map(len, few), default=0), len(edges), 1), np.nan, dtype=np.float32)
        for place, own in enumerate(few):
            self._edges[: len(own), place, 0] = own

    def __call__(self, block: NDArray[np.float32]) -> NDArray[Any]:
        """The cells of values [columns, rows]; infinities lie in the first and last cell, NaN in any."""
        cells, above = self._cells[:, : block.shape[1]], self._above[:, : block.shape[1]]
        cells[:] = 0
        for edges in self._edges:
            np.greater_equal(block, edges, out=above)
            np.add(cells, above.view(np.uint8), out=cells)
        for place, lookup in self._lookups.items():
            cells[place] = lookup(block[place])
        return cells


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
    """The weights of rows for `JointCounts.add`, from scores in whole units, up to `SCORE_LIMIT` of them."""
    weights = scores.astype(np.float64)
    weights += _PACK
    return weights


def groups_of(sizes: Sequence[int]) -> list[range]:
    """Groups neighbouring columns (by place) that are counted jointly; one with very many cells stays alone."""
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


class FixedPointSums:
    """The running sums of the finite values of some columns, in fixed point.

    Args:
        bits: A column's unit is 2**-bits.
        limits: The largest magnitude, in units, with which a value of the column enters the sums.
    """

    def __init__(self, bits: Sequence[int], limits: Sequence[int]) -> None:
        columns = len(bits)
        self._units = np.array([2.0**own for own in bits], dtype=np.float32)[:, None]
        self._limits = np.array(limits, dtype=np.float32)[:, None]
        self.infinite = np.zeros(columns, dtype=np.int64)
        self.clamped = np.zeros(columns, dtype=np.int64)
        self.minimum = np.full(columns, np.inf, dtype=np.float32)
        self.maximum = np.full(columns, -np.inf, dtype=np.float32)
        self.totals = [0] * columns
        self.squares = [0] * columns

    def add(self, block: NDArray[np.float32], wide: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Adds values; NaN is no value.

        Args:
            block: [columns, rows], up to 2**14 rows, so that a sum of squares (2**48 each) fits in int64; overwritten.
            wide: Room of the same shape, to work in.

        Returns:
            Where NaN stood, or None for nowhere.
        """
        low, high = block.min(axis=1), block.max(axis=1)
        null = None
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite, null = np.isfinite(block), np.isnan(block)
            self.infinite += np.count_nonzero(~(finite | null), axis=1)
            low = block.min(axis=1, where=finite, initial=np.inf)
            high = block.max(axis=1, where=finite, initial=-np.inf)
            block = np.where(finite, block, np.float32(0))
        np.minimum(self.minimum, low, out=self.minimum)
        np.maximum(self.maximum, high, out=self.maximum)
        self._round(block, np.maximum(-low, high))
        self._sum(block, wide)
        return null

    def _round(self, fixed: NDArray[np.float32], largest: NDArray[np.float32]) -> None:
        """Rounds values to whole units, clamped; float32 holds every whole number up to 2**24, the largest limit."""
        with np.errstate(over="ignore"):
            fixed *= self._units
            beyond = largest[:, None] * self._units > self._limits
        np.rint(fixed, out=fixed)
        if beyond.any():
            self.clamped += np.count_nonzero(np.abs(fixed) > self._limits, axis=1)
            np.maximum(fixed, -self._limits, out=fixed)
            np.minimum(fixed, self._limits, out=fixed)

    def _sum(self, fixed: NDArray[np.float32], wide: NDArray[np.float64]) -> None:
        np.copyto(wide, fixed)
        totals = wide.sum(axis=1).tolist()
        squares = np.einsum("ij,ij->i", wide, wide).tolist()
        for place, (total, square) in enumerate(zip(totals, squares, strict=True)):
            self.totals[place] += int(total)
            # Partial sums of squares only grow: where the last is below 2**53, each was exact; else integers sum.
            self.squares[place] += int(square) if square < _EXACT else _square_sum(fixed[place])


def in_units(values: NDArray[np.float32], bits: int, limit: int) -> NDArray[np.float32]:
    """Values of one column as whole numbers of 2**-bits, clamped; NaN is 0."""
    with np.errstate(over="ignore"):
        fixed = values * np.float32(2.0**bits)
    np.rint(fixed, out=fixed)
    np.clip(fixed, np.float32(-limit), np.float32(limit), out=fixed)
    fixed[np.isnan(fixed)] = 0
    return fixed


def _square_sum(fixed: NDArray[Any]) -> int:
    whole = fixed.astype(np.int64)
    return int(np.dot(whole, whole))
