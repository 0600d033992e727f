"""Accumulates a profile while scoring, from the model's own input matrix and scores, without a second read.

Rows are taken in chunks that fit the processor's cache, and a chunk's columns all at once: a call of numpy costs about
as much as a thousand values, and each one lets another thread take the interpreter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tallywright.profiles.cells import ColumnCells, FixedPointSums, JointCounts, groups_of, in_units, weights_of
from tallywright.profiles.profile import (
    PREDICTED_CLASS,
    SCORE_LIMIT,
    VALUE_LIMIT,
    ColumnProfile,
    Profile,
    ProfileDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_CHUNK: Final = 2**14
"""Rows a pass: as many as `JointCounts` and `FixedPointSums` allow, since fewer calls let threads wait less for each
other."""
_NULL: Final = 0
_FIRST: Final = 2
"""The codes of null and of the first category, as `packaging.preprocess` gives them."""
_BAND: Final = 16
"""Columns that are counted at once: so many columns of a chunk fit the processor's cache."""


class _Band:
    """Counts and sums of some neighbouring numeric columns, which are counted together."""

    def __init__(self, edges: Sequence[tuple[float, ...]], bits: Sequence[int], limits: Sequence[int]) -> None:
        self._bits = bits
        self._cells = ColumnCells(edges, _CHUNK)
        self._sums = FixedPointSums(bits, limits)
        # Behind a column's cells comes one for nulls.
        self._null_cells = np.array(self._cells.cells)[:, None]
        self._counts = _Groups([cells + 1 for cells in self._cells.cells])

    def add(self, block: NDArray[np.float32], wide: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """Counts values [columns, rows], which are overwritten; `wide` is room to work in."""
        cells = self._cells(block)
        null = self._sums.add(block, wide)
        if null is not None:
            np.copyto(cells, self._null_cells, where=null, casting="unsafe")
        self._counts.add(list(cells), weights)

    def profiles(self, rows: int) -> Iterator[ColumnProfile]:
        """The profile of each column, given how many rows were counted."""
        sums = self._sums
        for place, (counts, score_sums) in enumerate(self._counts.columns()):
            # Adding zero turns -0.0 into 0.0: which of the two a minimum returns would depend on the order.
            low, high = float(sums.minimum[place]) + 0.0, float(sums.maximum[place]) + 0.0
            yield ColumnProfile(
                kind="numeric",
                rows=rows,
                nulls=counts[-1],
                counts=tuple(counts[:-1]),
                infinite=int(sums.infinite[place]),
                clamped=int(sums.clamped[place]),
                bits=self._bits[place],
                total=sums.totals[place],
                total_squares=sums.squares[place],
                minimum=low if np.isfinite(low) else None,
                maximum=high if np.isfinite(high) else None,
                score_sums=tuple(score_sums[:-1]),
                null_score_sum=score_sums[-1],
            )


class _Groups:
    """Joint counts of columns, by the groups in which they are counted together."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._groups = [(group, JointCounts([sizes[place] for place in group])) for group in groups_of(sizes)]

    def add(self, cells: Sequence[NDArray[np.integer]], weights: NDArray[np.float64]) -> None:
        for group, counts in self._groups:
            counts.add(cells[group.start : group.stop], weights)

    def columns(self) -> Iterator[tuple[list[int], list[int]]]:
        for _, counts in self._groups:
            yield from counts.columns()


class Accumulator:
    """Counts batches of one definition; not for several threads at once (give each its own and add the profiles)."""

    def __init__(self, definition: ProfileDefinition) -> None:
        self._definition = definition
        edges = (*definition.numeric.values(), definition.score_edges)
        bits = (*(definition.bits[name] for name in definition.numeric), definition.score_bits)
        limits = (*(VALUE_LIMIT for _ in definition.numeric), SCORE_LIMIT)
        places = [slice(start, start + _BAND) for start in range(0, len(edges), _BAND)]
        self._bands = [(place, _Band(edges[place], bits[place], limits[place])) for place in places]
        # A category's codes 0 and 1 are null and unseen.
        self._categorical = _Groups([len(values) + 2 for values in definition.categorical.values()])
        self._block = np.empty((min(len(edges), _BAND), _CHUNK), dtype=np.float32)
        self._wide = np.empty(self._block.shape, dtype=np.float64)
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
        weights = weights_of(in_units(scores, self._definition.score_bits, SCORE_LIMIT))
        for place, band in self._bands:
            columns = numeric.T[place]
            # The score is the last column of the last band.
            width = len(columns) + (place.stop > numeric.shape[1])
            block, wide = self._block[:width, : scores.shape[0]], self._wide[:width, : scores.shape[0]]
            block[-1] = scores
            block[: len(columns)] = columns
            band.add(block, wide, weights)
        self._categorical.add(list(categorical.T), weights)

    def profile(self) -> Profile:
        """The profile of all rows counted so far."""
        definition = self._definition
        *numeric, score = (column for _, band in self._bands for column in band.profiles(self._rows))
        columns = dict(zip(definition.numeric, numeric, strict=True))
        columns |= {
            name: _categorical_profile(self._rows, *counted)
            for name, counted in zip(definition.categorical, self._categorical.columns(), strict=True)
        }
        return Profile(definition_digest=definition.digest, rows=self._rows, columns=columns, score=score)


def with_predicted_class(
    definition: ProfileDefinition, categorical: NDArray[np.int64], shares: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The codes that are counted: those that the model reads, and the predicted class where the definition has one.

    Args:
        definition: Of the profile.
        categorical: Codes, [rows, columns].
        shares: The model's scores: [rows], or [rows, classes], of which a class is predicted.
    """
    if PREDICTED_CLASS not in definition.categorical:
        return categorical
    codes = np.where(np.isnan(shares).any(axis=1), _NULL, shares.argmax(axis=1) + _FIRST)
    return np.column_stack([categorical, codes.astype(np.int64)])


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
