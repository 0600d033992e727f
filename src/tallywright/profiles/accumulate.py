"""Counting in the scoring pass: from the model's own input matrix and scores to a profile, without a second read.

Rows are taken in chunks that fit the processor's cache, and a chunk's columns all at once: a call of numpy costs about
as much as a thousand values, and each one lets another thread take the interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tallywright.profiles.cells import ColumnCells
from tallywright.profiles.definition import SCORE_LIMIT, VALUE_LIMIT, ProfileDefinition
from tallywright.profiles.joint import JointCounts, groups_of, weights_of
from tallywright.profiles.profile import ColumnProfile, Profile
from tallywright.profiles.sums import FixedPointSums, in_units

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK: Final = 2**13
"""Rows a pass; `joint` and `sums` allow up to 2**14."""


class Accumulator:
    """Counts batches of one definition; not for several threads at once (give each its own and add the profiles)."""

    def __init__(self, definition: ProfileDefinition) -> None:
        self._definition = definition
        edges = (*definition.numeric.values(), definition.score_edges)
        bits = (*(definition.bits[name] for name in definition.numeric), definition.score_bits)
        limits = (*(VALUE_LIMIT for _ in definition.numeric), SCORE_LIMIT)
        self._block = np.empty((len(edges), _CHUNK), dtype=np.float32)
        self._cells = ColumnCells(edges, _CHUNK)
        self._null_cells = np.array(self._cells.cells)[:, None]
        self._sums = FixedPointSums(bits, limits, _CHUNK)
        # Behind a numeric column's cells comes one for nulls; a category's codes 0 and 1 are null and unseen.
        sizes = [cells + 1 for cells in self._cells.cells]
        sizes += [len(values) + 2 for values in definition.categorical.values()]
        self._groups = [(group, JointCounts([sizes[place] for place in group])) for group in groups_of(sizes)]
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
        block = self._block[:, : scores.shape[0]]
        block[:-1] = numeric.T
        block[-1] = scores
        cells = self._cells(block)
        null = self._sums.add(block)
        if null is not None:
            np.copyto(cells, self._null_cells, where=null, casting="unsafe")
        columns = [*cells, *categorical.T]
        weights = weights_of(in_units(scores, self._definition.score_bits, SCORE_LIMIT))
        for group, counts in self._groups:
            counts.add(columns[group.start : group.stop], weights)

    def profile(self) -> Profile:
        """The profile of all rows counted so far."""
        definition = self._definition
        counted = [column for _, counts in self._groups for column in counts.columns()]
        numeric = [self._numeric_profile(place, *counted[place]) for place in range(len(self._cells.cells))]
        columns = dict(zip(definition.numeric, numeric, strict=False))
        columns |= {
            name: _categorical_profile(self._rows, *column)
            for name, column in zip(definition.categorical, counted[len(numeric) :], strict=True)
        }
        return Profile(definition_digest=definition.digest, rows=self._rows, columns=columns, score=numeric[-1])

    def _numeric_profile(self, place: int, counts: list[int], score_sums: list[int]) -> ColumnProfile:
        definition, sums = self._definition, self._sums
        bits = [*(definition.bits[name] for name in definition.numeric), definition.score_bits]
        # Adding zero turns -0.0 into 0.0: which of the two a minimum returns would depend on the order.
        low, high = float(sums.minimum[place]) + 0.0, float(sums.maximum[place]) + 0.0
        return ColumnProfile(
            kind="numeric",
            rows=self._rows,
            nulls=counts[-1],
            counts=tuple(counts[:-1]),
            infinite=int(sums.infinite[place]),
            clamped=int(sums.clamped[place]),
            bits=bits[place],
            total=sums.totals[place],
            total_squares=sums.squares[place],
            minimum=low if np.isfinite(low) else None,
            maximum=high if np.isfinite(high) else None,
            score_sums=tuple(score_sums[:-1]),
            null_score_sum=score_sums[-1],
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


def _categorical_profile(rows: int, counts: list[int], sums: list[int]) -> ColumnProfile:
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
