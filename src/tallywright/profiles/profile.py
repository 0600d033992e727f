"""The profile of scored rows: integers only, so sums over fragments, days and engines are equal bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from tallywright.profiles.definition import SCORE, ProfileDefinition
from tallywright.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ColumnProfile(Record):
    """The counters of one column (or of the score).

    `counts` has one number a cell: under, the reference's cells, over; or one a category. `nulls` (NaN in the matrix),
    `unseen` and `infinite` are counts of their own; infinities also stand in the under and over cells. `total` and
    `total_squares` are sums of fixed-point values (unit 2**-bits, and its square) of the finite rows, `clamped` the
    rows that entered them as the limit. `score_sums` has the score's fixed-point sum per cell, in the score's unit.
    """

    kind: Literal["numeric", "categorical"]
    rows: int
    nulls: int
    counts: tuple[int, ...]
    unseen: int = 0
    infinite: int = 0
    clamped: int = 0
    bits: int = 0
    total: int = 0
    total_squares: int = 0
    minimum: float | None = None
    maximum: float | None = None
    score_sums: tuple[int, ...] = ()
    null_score_sum: int = 0
    unseen_score_sum: int = 0

    def __add__(self, other: ColumnProfile) -> ColumnProfile:
        summed = ("rows", "nulls", "unseen", "infinite", "clamped", "total", "total_squares")
        score_sums = ("null_score_sum", "unseen_score_sum")
        return ColumnProfile(
            kind=self.kind,
            bits=self.bits,
            counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            score_sums=tuple(a + b for a, b in zip(self.score_sums, other.score_sums, strict=True)),
            minimum=min((v for v in (self.minimum, other.minimum) if v is not None), default=None),
            maximum=max((v for v in (self.maximum, other.maximum) if v is not None), default=None),
            **{name: getattr(self, name) + getattr(other, name) for name in summed + score_sums},
        )

    @property
    def finite(self) -> int:
        """The rows that entered the sums."""
        return self.rows - self.nulls - self.infinite if self.kind == "numeric" else 0

    @property
    def mean(self) -> float | None:
        """The mean of the finite values; None where there are none."""
        return self.total / self.finite / 2.0**self.bits if self.finite else None

    @property
    def variance(self) -> float | None:
        """The population variance of the finite values; None where there are none."""
        if not self.finite:
            return None
        # Whole numbers up to the division: no cancellation.
        spread = self.finite * self.total_squares - self.total**2
        return spread / self.finite**2 / 4.0**self.bits


class Profile(Record):
    """The counters of every column over some scored rows; `+` merges, exactly and in any order."""

    definition_digest: str
    rows: int
    columns: dict[str, ColumnProfile]
    score: ColumnProfile

    @classmethod
    def empty(cls, definition: ProfileDefinition) -> Profile:
        """The profile of no rows, the zero of `+`."""
        columns = {
            name: _zero("numeric", len(edges) + 1, definition.bits[name]) for name, edges in definition.numeric.items()
        }
        columns |= {name: _zero("categorical", len(values), 0) for name, values in definition.categorical.items()}
        score = _zero("numeric", len(definition.score_edges) + 1, definition.score_bits)
        return cls(definition_digest=definition.digest, rows=0, columns=columns, score=score)

    def __add__(self, other: Profile) -> Profile:
        if self.definition_digest != other.definition_digest:
            raise ValueError("profiles of different definitions cannot be added: their cells differ")
        return Profile(
            definition_digest=self.definition_digest,
            rows=self.rows + other.rows,
            columns={name: column + other.columns[name] for name, column in self.columns.items()},
            score=self.score + other.score,
        )

    def column(self, name: str) -> ColumnProfile:
        """The counters of a column; the name `prediction` means the score."""
        return self.score if name == SCORE else self.columns[name]

    def counts(self, column: str) -> NDArray[np.int64]:
        """The counts to compare by: the cells of a numeric column; the categories, then unseen. Nulls are left out."""
        found = self.column(column)
        tail = (found.unseen,) if found.kind == "categorical" else ()
        return np.array(found.counts + tail, dtype=np.int64)

    def null_share(self, column: str) -> float:
        """The share of rows without a value; 0 for no rows."""
        return self.column(column).nulls / self.rows if self.rows else 0.0

    def unseen_share(self, column: str) -> float:
        """The share of rows whose category was not known at training; 0 for no rows."""
        return self.column(column).unseen / self.rows if self.rows else 0.0

    def mean(self, column: str) -> float | None:
        """The mean of the finite values; None for a categorical column or where there are none."""
        return self.column(column).mean

    def cell_mean_scores(self, column: str) -> NDArray[np.float64]:
        """The mean score per cell, in the order of `counts`; NaN where a cell is empty."""
        found = self.column(column)
        tail = (found.unseen_score_sum,) if found.kind == "categorical" else ()
        sums = np.array(found.score_sums + tail, dtype=np.float64) / 2.0**self.score.bits
        counts = self.counts(column)
        means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(counts.size, np.nan), where=counts > 0)
        return means


def _zero(kind: Literal["numeric", "categorical"], cells: int, bits: int) -> ColumnProfile:
    return ColumnProfile(kind=kind, rows=0, nulls=0, bits=bits, counts=(0,) * cells, score_sums=(0,) * cells)
