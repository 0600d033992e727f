"""From values to their cells: a column at a time by a look-up table, or many columns at once by comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SLOTS: Final = 4096
_MOST_EDGES_PER_SLOT: Final = 3
_FEW_EDGES: Final = 64
"""Up to so many edges, comparing with each of them is quicker than looking up (about 0.06 ns a value and edge)."""


class CellLookup:
    """The cell of float32 values: how many ascending `edges` are not above the value.

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
    """The cells of many columns at once, each with edges of its own.

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
