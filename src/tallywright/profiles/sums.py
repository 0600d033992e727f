"""Exact sums, sums of squares and bounds of many columns at once, in fixed-point units of each column's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_EXACT: Final = 2.0**53
"""Whole numbers below this are exact in float64."""


class FixedPointSums:
    """The running sums of the finite values of some columns.

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
        """Makes values whole numbers, clamped; exact in float32: units are powers of two, limits at most 2**24."""
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
            # Squares only grow a sum: where it stayed below 2**53, every sum on the way was exact.
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
