"""What a profile counts: edges, categories and fixed-point units, frozen at training so that days can be compared."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.records import Record, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SCORE: Final = "prediction"
"""The name under which the score is profiled; the spec reserves it, so no feature can have it."""

VALUE_LIMIT: Final = 2**24
"""Largest fixed-point magnitude of a feature value."""
SCORE_LIMIT: Final = 2**22
"""Largest fixed-point magnitude of a score."""
_MAX_BITS: Final = 120


class ProfileDefinition(Record):
    """The frozen cells and units of one model's profiles.

    `numeric` maps a column, in the order of the model's matrix, to its ascending float32 edges. The cell of a value is
    the number of edges not above it: cell 0 lies below everything the reference held ("under"), the last cell above
    it ("over"). `categorical` maps a column to its categories, in code order. `bits` gives each numeric column's
    fixed-point unit, 2**-bits; a value whose magnitude exceeds `VALUE_LIMIT` units (at least 8 times the largest of the
    reference) enters the sums as that limit and is counted as clamped.
    """

    numeric: dict[str, tuple[float, ...]]
    categorical: dict[str, tuple[str, ...]]
    score_edges: tuple[float, ...]
    bits: dict[str, int]
    score_bits: int

    @cached_property
    def digest(self) -> str:
        """The sha256 of the content; the order of the columns takes part."""
        return digest_of(
            [
                [[name, list(edges), self.bits[name]] for name, edges in self.numeric.items()],
                [[name, list(categories)] for name, categories in self.categorical.items()],
                [list(self.score_edges), self.score_bits],
            ]
        )


def define(
    numeric: Mapping[str, NDArray[np.floating]],
    categorical: Mapping[str, Sequence[str]],
    scores: NDArray[np.floating],
    cells: int,
) -> ProfileDefinition:
    """The definition from the reference's values: quantile cells, or one cell a value where there are few values.

    Args:
        numeric: Column to values; NaN and infinities are left out.
        categorical: Column to its categories, in code order.
        scores: The model's scores of the same rows.
        cells: How many cells the reference's rows are spread over; ties may leave fewer.
    """
    return ProfileDefinition(
        numeric={name: _edges(values, cells) for name, values in numeric.items()},
        categorical={name: tuple(categories) for name, categories in categorical.items()},
        score_edges=_edges(scores, cells),
        bits={name: _bits(values, VALUE_LIMIT >> 3) for name, values in numeric.items()},
        # A probability may later reach 1, wherever the reference's lay: no finer a unit than that allows.
        score_bits=_bits(np.append(scores, 1.0), SCORE_LIMIT >> 2),
    )


def _edges(values: NDArray[np.floating], cells: int) -> tuple[float, ...]:
    finite = _finite(values)
    if not finite.size:
        return ()
    ordered = np.sort(finite)
    distinct = np.unique(ordered)
    if distinct.size > cells:
        ranks = [math.ceil(ordered.size * cell / cells) for cell in range(1, cells)]
        distinct = np.unique(np.concatenate([ordered[:1], ordered[ranks]]))
    with np.errstate(over="ignore"):
        over = np.nextafter(ordered[-1], np.float32(np.inf), dtype=np.float32)
    return tuple(float(edge) for edge in (*distinct, over) if math.isfinite(edge))


def _bits(values: NDArray[np.floating], target: int) -> int:
    finite = _finite(values)
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    if largest == 0.0:
        return target.bit_length() - 1
    _, exponent = math.frexp(largest)
    return max(-_MAX_BITS, min(_MAX_BITS, target.bit_length() - 1 - exponent))


def _finite(values: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = np.asarray(values).astype(np.float32)
    # Adding zero turns -0.0 into 0.0, so that equal edges have equal bits and digests.
    return np.asarray(narrow[np.isfinite(narrow)] + np.float32(0), dtype=np.float32)
