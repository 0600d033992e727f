"""From a value to its cell: a look-up table that gives exactly the counts of a binary search, several times faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLOTS: Final = 4096
_MOST_EDGES_PER_SLOT: Final = 3


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
        self._inside = np.full((int(per_slot.max()), _SLOTS), np.inf, dtype=np.float32)
        rank = np.arange(slots.size) - self._base[slots]
        self._inside[rank, slots] = self._edges

    def _slots(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        with np.errstate(over="ignore"):
            position = values * self._scale
            position += self._shift
        np.maximum(position, np.float32(0), out=position)
        np.minimum(position, np.float32(_SLOTS - 1), out=position)
        return position.astype(np.intp)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.intp]:
        """The cells of values without NaN; infinities lie in the first and last cell."""
        if self._base is None:
            return np.searchsorted(self._edges, values, side="right")
        slots = self._slots(values)
        cells = self._base.take(slots, mode="clip")
        for inside in self._inside:
            # Empty places hold +inf; an infinite value must not count them.
            cells += values >= inside.take(slots, mode="clip")
        if np.isposinf(values.max(initial=-np.inf)):
            cells[np.isposinf(values)] = self.cells - 1
        return cells
