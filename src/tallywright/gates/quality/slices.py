"""The primary metric by slice: single columns and pairs of them, so that no group pays for the gain of the others.

Among many slices some look worse by chance, so each is judged at its share of the level: half of it is divided among
the slices of single columns, the other half among those of pairs (Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from tallywright.gates.quality.scored_rows import gain_of
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.gates.quality.scored_rows import Gain, Mask, ScoredRows

SLICE_CHECK: Final = "slice_"
MIN_SLICE_ROWS: Final = 200
"""A smaller slice is not judged: its interval would be too wide to mean anything."""
SLICE_MARGIN: Final = 0.1
"""A loss of this share of the champion's metric is worth a warning even where it is not shown."""
_MOST_SLICES: Final = 200


@dataclass(frozen=True, slots=True)
class _Slice:
    """A slice, and its rows in each sample."""

    name: str
    rows: tuple[Mask, ...]
    pair: bool

    @property
    def count(self) -> int:
        return sum(int(mask.sum()) for mask in self.rows)


def slice_checks(samples: Sequence[ScoredRows]) -> list[Check]:
    """A check for each slice of a least size: one that is shown to be worse than with the champion fails."""
    found = sorted(_slices(samples), key=lambda one: (one.pair, -one.count, one.name))
    judged, left = found[:_MOST_SLICES], len(found) - _MOST_SLICES
    counts = {pair: sum(one.pair is pair for one in judged) for pair in (False, True)}
    level = 1 - samples[0].spec.gates.confidence
    checks = [_check(samples, one, level / 2 / counts[one.pair]) for one in judged]
    if left > 0:
        why = f"the {_MOST_SLICES} largest slices are judged, {left} smaller ones are not"
        checks.append(Check(name="slices", verdict=Verdict.NOTE, observed=float(left), bound="none left", evidence=why))
    return checks


def _slices(samples: Sequence[ScoredRows]) -> Iterator[_Slice]:
    columns = samples[0].spec.training.slices
    tables = pa.concat_tables([sample.slices for sample in samples])
    ends = np.cumsum([len(sample.target) for sample in samples])[:-1]
    coded = {column: _codes(column, tables[column]) for column in columns}
    for codes, names in coded.values():
        for code in _large(codes):
            yield _Slice(f"{SLICE_CHECK}{names[code]}", tuple(np.split(codes == code, ends)), pair=False)
    for one, other in combinations(columns, 2):
        (first, names), (second, others) = coded[one], coded[other]
        both = first * len(others) + second
        for code in _large(both):
            name = f"{SLICE_CHECK}{names[code // len(others)]},{others[code % len(others)]}"
            yield _Slice(name, tuple(np.split(both == code, ends)), pair=True)


def _large(codes: np.ndarray) -> np.ndarray:
    """The codes of enough rows to be judged."""
    return np.flatnonzero(np.bincount(codes) >= MIN_SLICE_ROWS)


def _codes(name: str, column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The number of each row's value, null being one of them, and what each is called: equal names for equal values."""
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*(f"{name}={_escaped(str(value))}" for value in values), f"{name} is null"]


def _escaped(value: str) -> str:
    """A value in which no comma can be taken for the one between two slices."""
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _check(samples: Sequence[ScoredRows], one: _Slice, level: float) -> Check:
    metric = samples[0].spec.gates.primary_metric
    gain = gain_of(samples, metric, one.rows)
    if gain is not None:
        verdict, needed = judged(gain, level)
        more = f"; about {needed:,} rows would show it" if needed else ""
        return Check(
            name=one.name,
            verdict=verdict,
            observed=gain.candidate,
            bound=f"{metric} not shown to be worse than the champion's {gain.champion:.4f}",
            evidence=f"{gain.rows} rows; {gain.told(level)}{more}",
        )
    found = samples[0].figures(one.rows[0]).get(metric, math.nan)
    computable = math.isfinite(found)
    return Check(
        name=one.name,
        verdict=Verdict.PASS if computable else Verdict.WARN,
        observed=found if computable else None,
        bound=f"{metric}, reported",
        evidence=f"{int(one.rows[0].sum())} rows" + ("" if computable else "; not computable, perhaps one class only"),
    )


def judged(gain: Gain, level: float) -> tuple[Verdict, int]:
    """The verdict on a part of what is judged, and, where nothing is shown, how many rows would show it."""
    estimate, margin = gain.estimate, SLICE_MARGIN * abs(gain.champion)
    lower, upper = estimate.lower(level), estimate.upper(level)
    if upper < 0:
        return Verdict.FAIL, 0
    if lower > -margin:
        return Verdict.PASS, 0
    looks_worse = estimate.value < -margin
    # A bound comes nearer with the root of the number of rows: to 0 where it looks worse, else to the margin.
    distance = abs(estimate.value) if looks_worse else estimate.value + margin
    reach = estimate.value - lower
    needed = math.ceil(gain.rows * (reach / distance) ** 2) if distance > 0 else 0
    return Verdict.WARN if looks_worse else Verdict.NOTE, needed
