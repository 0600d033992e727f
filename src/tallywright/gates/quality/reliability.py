"""How scores and outcomes agree, by tenths of the held-out rows: what a reliability plot shows.

It judges nothing: it is the picture behind the calibration error, kept in the report so that a model card can draw it
for as long as the report is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.gates.evidence.daily import DailyMetric
from tallywright.gates.evidence.interval import jackknife
from tallywright.metrics import predicted_classes
from tallywright.records import Check, Verdict

if TYPE_CHECKING:
    from tallywright.gates.quality.scored_rows import Floats, Mask, ScoredRows
    from tallywright.records import GateReport

RELIABILITY: Final = "reliability"
"""The check that tells it."""
_PARTS: Final = 10
_NUMBER: Final = r"-?[0-9][0-9.e+-]*"
_TENTH: Final = re.compile(rf"({_NUMBER}) -> ({_NUMBER})(?: \[({_NUMBER}), ({_NUMBER})\])? of ([0-9]+) rows", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tenth:
    """About a tenth of the rows: their mean score and mean outcome, with its interval where the days allow one."""

    predicted: float
    observed: float
    rows: int
    lower: float | None = None
    upper: float | None = None

    def __str__(self) -> str:
        interval = "" if self.lower is None else f" [{self.lower:.5g}, {self.upper:.5g}]"
        return f"{self.predicted:.5g} -> {self.observed:.5g}{interval} of {self.rows} rows"


def reliability_checks(scored: ScoredRows) -> list[Check]:
    """The check that tells the tenths of a sample, in the order of their scores; none for no rows."""
    tenths = _tenths(scored)
    if not tenths:
        return []
    kind = scored.spec.training.kind
    what = "share of positives" if kind.thresholds else "share of right classes" if kind.per_class else "mean label"
    return [
        Check(
            name=RELIABILITY,
            verdict=Verdict.PASS,
            observed=float(len(tenths)),
            bound=f"reported: mean score -> {what}, by tenths of the rows",
            evidence="; ".join(map(str, tenths)),
        )
    ]


def tenths_of(report: GateReport) -> list[Tenth]:
    """The tenths that a report tells; none where it is of before, or about a model that could not be scored."""
    check = next((check for check in report.checks if check.name == RELIABILITY), None)
    found = [] if check is None else [_TENTH.fullmatch(part) for part in check.evidence.split("; ")]
    return [_read(match) for match in found if match is not None]


def _read(match: re.Match[str]) -> Tenth:
    predicted, observed, lower, upper, rows = match.groups()
    interval = () if lower is None else (float(lower), float(upper))
    return Tenth(float(predicted), float(observed), int(rows), *interval)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """What was said of each row, what came, and the number of its day."""

    predicted: Floats
    outcome: Floats
    days: np.ndarray

    def tenth(self, rows: Mask, level: float, *, is_share: bool) -> Tenth:
        """Some of the rows, with the bounds of their mean outcome at this level, where the days allow some."""
        count = int(self.days.max()) + 1
        sums = np.bincount(self.days[rows], weights=self.outcome[rows], minlength=count)
        sizes = np.bincount(self.days[rows], minlength=count)
        with np.errstate(invalid="ignore", divide="ignore"):
            without = (sums.sum() - sums) / (sizes.sum() - sizes)
        found = Tenth(float(self.predicted[rows].mean()), float(sums.sum() / sizes.sum()), int(sizes.sum()))
        estimate = jackknife(DailyMetric(found.observed, without))
        if estimate is None:
            return found
        lower, upper = estimate.lower(level), estimate.upper(level)
        return (
            replace(found, lower=max(lower, 0.0), upper=min(upper, 1.0))
            if is_share
            else replace(found, lower=lower, upper=upper)
        )


def _tenths(scored: ScoredRows) -> list[Tenth]:
    pairs, kind = _pairs(scored), scored.spec.training.kind
    finite = np.isfinite(pairs.predicted) & np.isfinite(pairs.outcome)
    if not finite.any():
        return []
    # Edges of scores and not places of rows: rows with equal scores stay together, whatever their order.
    edges = np.unique(np.quantile(pairs.predicted[finite], np.arange(1, _PARTS) / _PARTS))
    part = np.searchsorted(edges, pairs.predicted, side="right")
    level = 1 - scored.spec.gates.confidence
    chosen = (finite & (part == number) for number in range(len(edges) + 1))
    return [pairs.tenth(rows, level, is_share=kind.classifies) for rows in chosen if rows.any()]


def _pairs(scored: ScoredRows) -> _Pairs:
    """Scores and labels; of a multiclass model the probability of its surest class, and whether it was right."""
    values, days = scored.candidate.values, np.unique(scored.dates, return_inverse=True)[1]
    if values.ndim == 1:
        return _Pairs(values, scored.target, days)
    chosen, confidence = predicted_classes(values)
    return _Pairs(confidence, (chosen == scored.target).astype(np.float64), days)
