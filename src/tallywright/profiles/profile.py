"""The profile of scored rows, and the definition of what it counts: edges, categories, units, frozen at training.

Integers only, so sums over fragments, days and engines are equal bit for bit.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from tallywright.records import Record, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SCORE: Final = "prediction"
"""The name under which the score is profiled; the spec reserves it, so no feature can have it."""
PREDICTED_CLASS: Final = "prediction.class"
"""The name under which the predicted class of a multiclass model is profiled, behind the columns that the model reads;
no column of a spec can have it."""
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
    """Defines profiles from the reference's values: quantile cells, or one cell a value where there are few values.

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
