"""One loaded model of a day in its role: its checked predictions, and the counts made while rows are scored.

A prediction is checked before it is served: every output present, finite, and a probability between 0 and 1. Whether a
row fails is a function of that row alone, and counts are whole numbers, so both are the same in every batch, engine and
order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tallywright.buffers import valid_mask, values_of
from tallywright.data.fingerprint import RowDigest
from tallywright.packaging.predictor import Prediction, Predictor
from tallywright.records import Record
from tallywright.scoring.roles.failing_rows import Allowance, score_sound_rows
from tallywright.scoring.roles.intervals import Interval, mean_interval, share_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tallywright.profiles.accumulate import Accumulator
    from tallywright.scoring.roles.constant import ConstantPredictor

    AnyPredictor = Predictor | ConstantPredictor

_LIMIT = 2.0**40
_HALF_BITS = 21
_CHUNK = 1 << 16
SHARES = frozenset({"probability", "probabilities", "confidence"})
"""Outputs that lie between 0 and 1."""


class CanaryCounts(Record):
    """How a canary did on its share of the rows.

    `compared` rows have a sound prediction of both; the totals are their scores in units of 2**-bits, the champion's,
    and the squares are those of the canary's score less the champion's, row by row. All are whole numbers, so partial
    counts add up to the same whatever the split, the order and the engine.
    """

    rows: int = 0
    problems: int = 0
    compared: int = 0
    champion_total: int = 0
    canary_total: int = 0
    difference_squares: int = 0
    bits: int = 0
    stopped: bool = False
    """True where its graph failed although no row may be without an answer: nothing was counted from there on."""

    def __add__(self, other: CanaryCounts) -> CanaryCounts:
        stopped = self.stopped or other.stopped
        added = ("rows", "problems", "compared", "champion_total", "canary_total", "difference_squares")
        sums = {name: getattr(self, name) + getattr(other, name) for name in added}
        return CanaryCounts(bits=max(self.bits, other.bits, key=abs), stopped=stopped, **sums)

    @property
    def problem_share(self) -> Interval:
        """The share of the canary's rows without a sound prediction."""
        return share_interval(self.problems, self.rows)

    @property
    def mean_difference(self) -> Interval | None:
        """The mean of the canary's score less the champion's on the compared rows; None for fewer than two."""
        return mean_interval(self.compared, self.canary_total - self.champion_total, self.difference_squares, self.bits)


class RoleCounts(Record):
    """The counts by role of a split, as a worker returns them; keys are labels such as `canary:3`."""

    served: dict[str, int] = Field(default_factory=dict)
    """Rows of the scores table."""
    profiles: dict[str, str] = Field(default_factory=dict)
    """Profiles of the models that do not answer for the day; as JSON."""
    canary: CanaryCounts = CanaryCounts()
    failures: dict[str, str] = Field(default_factory=dict)
    """Shadows that failed, and on what."""
    shadow_problems: dict[str, dict[str, int]] = Field(default_factory=dict)
    """What the output gate found in the rows of a shadow."""


def compared(champion: NDArray[np.float32], canary: NDArray[np.float32], bits: int) -> CanaryCounts:
    """The counts of rows with a sound score of both; each score is rounded by itself to units of 2**-bits."""
    mine, its = _in_units(canary, bits), _in_units(champion, bits)
    return CanaryCounts(
        compared=mine.size,
        champion_total=int(its.sum()),
        canary_total=int(mine.sum()),
        difference_squares=_square_sum(mine - its),
        bits=bits,
    )


def _in_units(scores: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    return np.clip(np.rint(scores.astype(np.float64) * 2.0**bits), -_LIMIT, _LIMIT).astype(np.int64)


def _square_sum(values: NDArray[np.int64]) -> int:
    """The exact sum of squares of whole numbers up to 2**41: in halves and pieces, none of which overflows."""
    total = 0
    for start in range(0, values.size, _CHUNK):
        piece = values[start : start + _CHUNK]
        high, low = piece >> _HALF_BITS, piece & ((1 << _HALF_BITS) - 1)
        total += int(high @ high) << 2 * _HALF_BITS
        total += int(high @ low) << _HALF_BITS + 1
        total += int(low @ low)
    return total


def problems_in(outputs: pa.RecordBatch) -> Counter[str]:
    """Counts the values of a batch that fail the output gate, by problem; empty for a good batch."""
    problems: Counter[str] = Counter()
    for name, column in zip(outputs.schema.names, outputs.columns, strict=True):
        values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        nulls = column.null_count + (values.null_count if values is not column else 0)
        if nulls:
            problems[f"{name} is null"] += nulls
        if pa.types.is_floating(values.type):
            _count_numbers(problems, name, values_of(values)[valid_mask(values)] if nulls else values_of(values))
    return problems


def broken_rows(outputs: pa.RecordBatch) -> NDArray[np.bool_]:
    """A mask of the rows with a value that `problems_in` would count."""
    broken = np.zeros(outputs.num_rows, dtype=np.bool_)
    for name, column in zip(outputs.schema.names, outputs.columns, strict=True):
        broken |= ~valid_mask(column)
        if pa.types.is_list(column.type):
            rows = values_of(pc.list_parent_indices(column))
            broken[rows[_broken(name, pc.list_flatten(column))]] = True
        else:
            broken |= _broken(name, column)
    return broken


def _broken(name: str, values: pa.Array) -> NDArray[np.bool_]:
    wrong = ~valid_mask(values)
    if pa.types.is_floating(values.type):
        numbers = values_of(values)
        sound = np.isfinite(numbers)
        if name in SHARES:
            sound &= (numbers >= 0) & (numbers <= 1)
        wrong |= ~sound
    return wrong


def _count_numbers(problems: Counter[str], name: str, numbers: NDArray[Any]) -> None:
    finite = np.isfinite(numbers)
    wrong = {f"{name} is not finite": ~finite}
    if name in SHARES:
        wrong[f"{name} is outside 0..1"] = finite & ((numbers < 0) | (numbers > 1))
    for what, rows in wrong.items():
        found = int(np.count_nonzero(rows))
        if found:
            problems[what] += found


@dataclass(frozen=True, slots=True)
class CheckedPrediction:
    """A prediction, and masks of its rows that must not be served.

    `failed` rows raised an error in the graph (their scores are NaN); `broken` rows would not pass the output gate,
    the failed ones among them.
    """

    prediction: Prediction
    failed: NDArray[np.bool_]
    broken: NDArray[np.bool_]

    @property
    def outputs(self) -> pa.RecordBatch:
        """The output columns of all rows."""
        return self.prediction.outputs


def predict_checked(
    predictor: AnyPredictor, batch: pa.RecordBatch, allowance: Allowance | None = None
) -> CheckedPrediction:
    """Predicts a batch; a row that makes the graph fail takes no other row with it.

    Raises:
        InputError: A column is missing or mistyped.
        HopelessError: More rows fail than `allowance` has.
    """
    if not isinstance(predictor, Predictor):
        return _checked(predictor.predict(batch))
    inputs = predictor.package.preprocess.transform(batch)
    scores, failed = score_sound_rows(predictor, inputs, allowance)
    prediction = predictor.finish(inputs, scores)
    return CheckedPrediction(prediction, failed, broken_rows(prediction.outputs) | failed)


def predict_all(predictor: AnyPredictor, batch: pa.RecordBatch) -> CheckedPrediction:
    """Predicts a batch of which every row must have a score: the first error of the graph ends it.

    Raises:
        InputError: A column is missing or mistyped.
        PackageError: The graph raises an error.
    """
    return _checked(predictor.predict(batch))


def _checked(prediction: Prediction) -> CheckedPrediction:
    nowhere = np.zeros(prediction.outputs.num_rows, dtype=np.bool_)
    return CheckedPrediction(prediction, nowhere, broken_rows(prediction.outputs))


@dataclass(slots=True)
class ScoringCounts:
    """The counts that add up while rows are scored."""

    profile: Accumulator
    """Of the model that answers for the day."""
    keys: RowDigest = field(default_factory=RowDigest)
    """Digest of the key columns as they were READ; verification compares it with what was written."""
    problems: Counter[str] = field(default_factory=Counter)
    """What the output gate found in the rows of the scores table, and how often."""
    served: Counter[str] = field(default_factory=Counter)
    """Rows of the scores table by label, such as `canary:3`."""
    profiles: dict[str, Accumulator] = field(default_factory=dict)
    """Of every other model, by label."""
    canary: CanaryCounts = field(default_factory=CanaryCounts)
    shadow_problems: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Shadows that failed, by label: they score no further batch."""

    def roles(self) -> RoleCounts:
        """The counts by role, for a part's manifest."""
        return RoleCounts(
            served=dict(self.served),
            profiles={label: counted.profile().to_json() for label, counted in self.profiles.items()},
            canary=self.canary,
            failures=dict(self.failures),
            shadow_problems={label: dict(found) for label, found in self.shadow_problems.items()},
        )


@dataclass(frozen=True, slots=True)
class RoleModel:
    """One loaded model of a day, and a full batch of each of its provenance columns (smaller ones take a slice)."""

    label: str
    predictor: AnyPredictor
    constants: Mapping[str, pa.Array]
