"""Realised performance: metrics of scored days once labels are known, the rows of `<model>__performance`.

A date is realised as of the day on which its labels count as mature, and once more when they are not waited for any
longer. Labels that were read again since are a restatement: the rows of that age are replaced as a whole, and between
the two ages the rows of the new label age are added. Confidence intervals are DeLong's for the area under the ROC
curve, the normal one for means (central limit theorem; Wald's for an accuracy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright import metrics
from tallywright.buffers import values_of
from tallywright.data.delta.rows import keep
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import UsageError
from tallywright.monitoring.labelled import KNOWN, MISSING, NEVER, STATUS, labelled_rows
from tallywright.records import Record, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import MetricBound, ModelSpec

Z95: Final = 1.959963984540054
Interval = tuple[float, float]
COVERAGE: Final = "coverage"
"""The share of scored rows whose label is known: a row of its own, also where no other metric can be had."""


def interval(metric: str, value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """The 95 % confidence interval of a binary metric on labels `y` (0 or 1) and probabilities `p`.

    Returns:
        Lower and upper bound; None for a metric without a simple one, and where there are too few rows of a class.
    """
    if metric == "roc_auc":
        return _delong(value, y, p)
    if metric == "accuracy":
        half = Z95 * (value * (1 - value) / max(y.size, 1)) ** 0.5
        return max(0.0, value - half), min(1.0, value + half)
    losses = _losses(metric, y, p)
    if losses is None or losses.size <= 1:
        return None
    half = Z95 * float(losses.std(ddof=1)) / losses.size**0.5
    upper = np.inf if metric == "log_loss" else 1.0
    return max(0.0, value - half), min(float(upper), value + half)


def _losses(metric: str, y: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The values whose mean is the metric, a row each; None for a metric that is no mean."""
    if metric == "brier":
        return np.asarray((p - y) ** 2)
    if metric == "log_loss":
        right = np.where(y == 1, p, 1 - p)
        return np.asarray(-np.log(np.maximum(right, metrics.SMALLEST_PROBABILITY)))
    return None


def _delong(value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """The 95 % interval of an AUC by its DeLong variance.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44, 1988; computed from midranks in O(n log n) as by Sun and Xu, "Fast
    implementation of DeLong's algorithm", IEEE Signal Processing Letters 21, 2014. A positive row's midrank among all
    rows less that among the positive ones is the number of negative rows below it, ties as a half: the structural
    components, whose variances over both classes add up to that of the AUC.
    """
    positive, negative = p[y == 1], p[y == 0]
    if min(positive.size, negative.size) <= 1:
        return None
    ranks = _midranks(np.concatenate([positive, negative]))
    above_negatives = (ranks[: positive.size] - _midranks(positive)) / negative.size
    below_positives = 1 - (ranks[positive.size :] - _midranks(negative)) / positive.size
    variance = above_negatives.var(ddof=1) / positive.size + below_positives.var(ddof=1) / negative.size
    half = Z95 * float(variance) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


class PerformanceRow(Record):
    """One row of `<model>__performance`."""

    score_date: date
    window_start: date
    window_end: date
    granularity: str
    as_of: date
    label_age_days: int
    mature: bool
    model_name: str
    model_version: int
    role: str
    slice_key: str | None
    slice_value: str | None
    metric: str
    value: float
    lower: float | None
    upper: float | None
    bound_min: float | None
    bound_max: float | None
    violated: bool
    rows: int
    known: int
    never: int
    missing: int
    labels_fingerprint: str | None = None
    """Of the reading of the labels that this was computed from (`<model>__label_readings`); None in older rows."""


PERFORMANCE: Final = Declaration(
    what="performance",
    record=PerformanceRow,
    key=("score_date", "label_age_days", "model_version", "role", "slice_key", "slice_value", "metric"),
    slice=("score_date", "label_age_days"),
    kind=Kind.SLICE,
    doc="realised metrics of each day once its labels were known, whole and by slice",
)


class Performance(Record):
    """The realised metrics of the champion on one day, as known at the end of `as_of`; slices are in the table."""

    model: str
    score_date: date
    as_of: date
    label_age_days: int
    mature: bool
    rows: int
    known: int
    never: int
    missing: int
    metrics: dict[str, float]
    violated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    """The rows of one model version of the day: all of them, or a slice."""

    rows: pa.Table
    version: int
    role: str
    slice_key: str | None = None
    slice_value: str | None = None

    def count(self, status: str) -> int:
        return int(keep(self.rows, {STATUS: status}).num_rows)


def realised(lake: Lake, spec: ModelSpec, day: date, as_of: date, *, fingerprint: str | None = None) -> Performance:
    """Computes and writes the realised metrics of a scored day.

    Args:
        lake: Scores, labels and (for slices) features are read; `<model>__performance` is written.
        spec: Task, slices, floors, least number of labels.
        day: The score date.
        as_of: Only labels that arrived by the end of this day count.
        fingerprint: Of the labels as last read, for the rows.

    Raises:
        UsageError: `as_of` is before the day.
        InputError: The day was not scored.
    """
    age = (as_of - day).days
    if age < 0:
        raise UsageError(f"labels of {day} cannot be asked for as of {as_of}", expected=f"{day} or later")
    rows = labelled_rows(lake, spec, day, as_of)
    mature = age >= spec.data.label_maturity_days
    common = {
        "score_date": day,
        "window_start": day,
        "window_end": day,
        "granularity": "1 day",
        "as_of": as_of,
        "label_age_days": age,
        "mature": mature,
        "model_name": spec.name,
        "labels_fingerprint": fingerprint,
    }
    found = [common | row for segment in _segments(rows, spec) for row in _measured(segment, spec, mature=mature)]
    written = [PerformanceRow(**row) for row in found]
    Table(PERFORMANCE, lake, spec).replace_if_changed(written, {"score_date": day, "label_age_days": age})
    return _summary(spec, found)


def _segments(rows: pa.Table, spec: ModelSpec) -> Iterator[_Segment]:
    """Yields the day's rows of each model version, then its slices."""
    for version in sorted(pc.unique(rows.column("model_version")).to_pylist()):
        scored = keep(rows, {"model_version": version})
        for role in sorted(pc.unique(scored.column("role")).to_pylist()):
            mine = keep(scored, {"role": role})
            yield _Segment(mine, version, role)
            for column in spec.training.slices:
                for value in sorted(pc.unique(mine.column(column).drop_null()).to_pylist(), key=str):
                    yield _Segment(keep(mine, {column: value}), version, role, column, str(value))


def _measured(segment: _Segment, spec: ModelSpec, *, mature: bool) -> Iterator[dict[str, Any]]:
    known = keep(segment.rows, {STATUS: KNOWN})
    counts = {
        "rows": segment.rows.num_rows,
        "known": known.num_rows,
        "never": segment.count(NEVER),
        "missing": segment.count(MISSING),
    }
    enough = mature and known.num_rows >= spec.monitoring.min_labels
    for metric, value, bounds in _metrics(known, segment, spec):
        floor = spec.monitoring.performance_floor.get(metric)
        yield counts | {
            "model_version": segment.version,
            "role": segment.role,
            "slice_key": segment.slice_key,
            "slice_value": segment.slice_value,
            "metric": metric,
            "value": value,
            "lower": bounds[0] if bounds else None,
            "upper": bounds[1] if bounds else None,
            "bound_min": floor.min if floor else None,
            "bound_max": floor.max if floor else None,
            "violated": enough and floor is not None and _outside(value, floor),
        }


def _metrics(known: pa.Table, segment: _Segment, spec: ModelSpec) -> Iterator[tuple[str, float, Interval | None]]:
    """Yields coverage, then the task's metrics; one that is undefined for these rows (one class only) is left out."""
    yield COVERAGE, known.num_rows / segment.rows.num_rows, None
    if not known.num_rows:
        return
    y = known.column(spec.training.target)
    if spec.training.kind.per_class:
        hits = pc.equal(y.cast(pa.string()), known.column("prediction").cast(pa.string()))
        yield "accuracy", float(pc.mean(hits).as_py()), None
        return
    labels = _floats(y)
    p = _floats(known.column(spec.training.kind.score_column))
    found = metrics.evaluate(labels, p, task=spec.training.task)
    if spec.training.kind.thresholds:
        found["accuracy"] = metrics.accuracy(labels, p, spec.scoring.threshold)
    for name, value in found.items():
        if math.isfinite(value):
            yield name, value, interval(name, value, labels, p) if spec.training.kind.thresholds else None


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The values of a column without nulls; pyarrow's own conversion imports pandas."""
    chunks = [values_of(chunk) for chunk in column.cast(pa.float64(), safe=False).chunks]
    return np.concatenate([*chunks, np.zeros(0, dtype=np.float64)])


def _outside(value: float, bound: MetricBound) -> bool:
    return (bound.min is not None and value < bound.min) or (bound.max is not None and value > bound.max)


def violation(row: dict[str, Any]) -> str:
    """Describes a violated bound, such as `roc_auc of 2013-03-01 is 0.512, bound 0.55 or more`."""
    bounds = [f"{row['bound_min']:g} or more"] if row["bound_min"] is not None else []
    bounds += [f"{row['bound_max']:g} or less"] if row["bound_max"] is not None else []
    return f"{row['metric']} of {row['score_date']} is {row['value']:.3f}, bound {' and '.join(bounds)}"


def _summary(spec: ModelSpec, rows: list[dict[str, Any]]) -> Performance:
    """The metrics of the champion's whole day; of the first model when none was champion."""
    whole = [row for row in rows if row["slice_key"] is None]
    mine = [row for row in whole if row["role"] == Role.CHAMPION] or whole
    first = mine[0]
    return Performance(
        model=spec.name,
        **{
            name: first[name]
            for name in ("score_date", "as_of", "label_age_days", "mature", "rows", "known", "never", "missing")
        },
        metrics={row["metric"]: row["value"] for row in mine if row["model_version"] == first["model_version"]},
        violated=tuple(violation(row) for row in mine if row["violated"]),
    )
