"""Counting in the scoring pass: from the model's own input matrix and scores to a profile, without a second read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tallywright.profiles.cells import CellLookup
from tallywright.profiles.definition import SCORE_LIMIT, VALUE_LIMIT, ProfileDefinition
from tallywright.profiles.profile import ColumnProfile, Profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK: Final = 2**14
"""Rows a pass: a chunk's sum of squares (2**48 each) fits in int64, and its columns stay in the processor's cache."""
_PACK: Final = 2.0**38
"""A row's weight is `_PACK + score`: one counting pass gives counts (high part) and score sums (low part).
All are whole numbers below 2**53, so float64 arithmetic on them is exact and its order has no influence."""


@dataclass(slots=True)
class _Counters:
    """The running state of one column; the layout of `cells` is that of the caller's cell numbers."""

    cells: int
    counts: NDArray[np.int64] = field(init=False)
    score_sums: NDArray[np.int64] = field(init=False)
    nulls: int = 0
    infinite: int = 0
    clamped: int = 0
    total: int = 0
    total_squares: int = 0
    null_score_sum: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.cells, dtype=np.int64)
        self.score_sums = np.zeros(self.cells, dtype=np.int64)

    def count(self, cells: NDArray[np.integer], weights: NDArray[np.float64]) -> None:
        packed = np.bincount(cells, weights=weights, minlength=self.cells)
        counts = np.rint(packed / _PACK)
        self.counts += counts.astype(np.int64)
        self.score_sums += (packed - counts * _PACK).astype(np.int64)


class Accumulator:
    """Counts batches of one definition; not for several threads at once (give each its own and add the profiles)."""

    def __init__(self, definition: ProfileDefinition) -> None:
        self._definition = definition
        self._lookups = [CellLookup(edges) for edges in definition.numeric.values()]
        self._units = [np.float32(2.0 ** definition.bits[name]) for name in definition.numeric]
        self._numeric = [_Counters(lookup.cells) for lookup in self._lookups]
        # Codes 0 and 1 are null and unseen.
        self._categorical = [_Counters(len(values) + 2) for values in definition.categorical.values()]
        self._score_lookup = CellLookup(definition.score_edges)
        self._score_unit = np.float32(2.0**definition.score_bits)
        self._score = _Counters(self._score_lookup.cells)
        self._rows = 0

    def update(self, numeric: NDArray[np.float32], categorical: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Counts some rows.

        Args:
            numeric: [rows, columns] in the definition's order, null as NaN; column-major is fastest.
            categorical: [rows, columns] of codes: 0 null, 1 unseen, then the categories from 2.
            scores: [rows]; NaN counts as null and enters no sum.
        """
        for start in range(0, scores.shape[0], _CHUNK):
            rows = slice(start, start + _CHUNK)
            self._update_chunk(numeric[rows], categorical[rows], scores[rows])
        self._rows += scores.shape[0]

    def _update_chunk(
        self, numeric: NDArray[np.float32], categorical: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> None:
        fixed = _fixed(np.nan_to_num(scores, nan=0.0, posinf=np.inf, neginf=-np.inf), self._score_unit, SCORE_LIMIT)
        weights = fixed.astype(np.float64)
        weights += _PACK
        for index, counters in enumerate(self._categorical):
            counters.count(categorical[:, index], weights)
        for index, counters in enumerate(self._numeric):
            values = np.ascontiguousarray(numeric[:, index])
            _update_numeric(counters, self._lookups[index], (values, self._units[index], VALUE_LIMIT), weights)
        _update_numeric(self._score, self._score_lookup, (scores, self._score_unit, SCORE_LIMIT), weights)

    def profile(self) -> Profile:
        """The profile of all rows counted so far."""
        definition = self._definition
        columns = {
            name: _numeric_profile(counters, self._rows, definition.bits[name])
            for name, counters in zip(definition.numeric, self._numeric, strict=True)
        }
        columns |= {
            name: _categorical_profile(counters, self._rows)
            for name, counters in zip(definition.categorical, self._categorical, strict=True)
        }
        return Profile(
            definition_digest=definition.digest,
            rows=self._rows,
            columns=columns,
            score=_numeric_profile(self._score, self._rows, definition.score_bits),
        )


def profile_rows(
    definition: ProfileDefinition,
    numeric: NDArray[np.float32],
    categorical: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> Profile:
    """The profile of one matrix in one call."""
    accumulator = Accumulator(definition)
    accumulator.update(numeric, categorical, scores)
    return accumulator.profile()


def _update_numeric(
    counters: _Counters,
    lookup: CellLookup,
    column: tuple[NDArray[np.float32], np.float32, int],
    weights: NDArray[np.float64],
) -> None:
    values, unit, limit = column
    if not values.size:
        return
    low, high = values.min(), values.max()
    if np.isnan(low):
        null = np.isnan(values)
        counters.nulls += int(np.count_nonzero(null))
        counters.null_score_sum += int((weights[null] - _PACK).sum())
        keep = ~null
        _update_numeric(counters, lookup, (values[keep], unit, limit), weights[keep])
        return
    counters.count(lookup(values), weights)
    if np.isinf(low) or np.isinf(high):
        finite = np.isfinite(values)
        counters.infinite += int(values.size - np.count_nonzero(finite))
        values = values[finite]
        if not values.size:
            return
        low, high = values.min(), values.max()
    # Adding zero turns -0.0 into 0.0: which of the two a minimum returns would depend on the order.
    counters.minimum = min(counters.minimum, float(low) + 0.0)
    counters.maximum = max(counters.maximum, float(high) + 0.0)
    if max(-float(low), float(high)) * float(unit) > limit:
        with np.errstate(over="ignore"):
            counters.clamped += int(np.count_nonzero(np.abs(np.rint(values * unit)) > limit))
    fixed = _fixed(values, unit, limit).astype(np.int64)
    counters.total += int(fixed.sum())
    counters.total_squares += int(np.dot(fixed, fixed))


def _fixed(values: NDArray[np.float32], unit: np.float32, limit: int) -> NDArray[np.float32]:
    """Values as whole numbers of units, clamped; exact in float32: the unit is a power of two, the limit 2**24."""
    with np.errstate(over="ignore"):
        fixed = values * unit
    np.rint(fixed, out=fixed)
    np.maximum(fixed, np.float32(-limit), out=fixed)
    np.minimum(fixed, np.float32(limit), out=fixed)
    return fixed


def _numeric_profile(counters: _Counters, rows: int, bits: int) -> ColumnProfile:
    return ColumnProfile(
        kind="numeric",
        rows=rows,
        nulls=counters.nulls,
        counts=tuple(counters.counts.tolist()),
        infinite=counters.infinite,
        clamped=counters.clamped,
        bits=bits,
        total=counters.total,
        total_squares=counters.total_squares,
        minimum=counters.minimum if np.isfinite(counters.minimum) else None,
        maximum=counters.maximum if np.isfinite(counters.maximum) else None,
        score_sums=tuple(counters.score_sums.tolist()),
        null_score_sum=counters.null_score_sum,
    )


def _categorical_profile(counters: _Counters, rows: int) -> ColumnProfile:
    counts: list[int] = counters.counts.tolist()
    sums: list[int] = counters.score_sums.tolist()
    kind: Literal["categorical"] = "categorical"
    return ColumnProfile(
        kind=kind,
        rows=rows,
        nulls=counts[0],
        unseen=counts[1],
        counts=tuple(counts[2:]),
        score_sums=tuple(sums[2:]),
        null_score_sum=sums[0],
        unseen_score_sum=sums[1],
    )
