"""Realised performance: metrics of scored days once labels are known, the rows of `<model>__performance`.

A date is realised as of the day on which its labels count as mature, and once more when they are not waited for any
longer. Labels that were read again since are a restatement: the rows of that age are replaced as a whole, and between
the two ages the rows of the new label age are added. Every model of the day is realised, shadows too; bounds hold for
the champion alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from tallywright.class_metrics import MOST_CLASSES
from tallywright.data.delta.generation import content_version, generation_of
from tallywright.data.delta.rows import keep
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import CommitConflictError, UsageError
from tallywright.monitoring.figures import figures
from tallywright.monitoring.intervals import Figure
from tallywright.monitoring.labelled import (
    KNOWN,
    MISSING,
    NEVER,
    STATUS,
    labelled_rows,
    labelled_shadows,
    standing_tally,
)
from tallywright.observability import log
from tallywright.records import PeriodRecord, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.delta.rows import Value
    from tallywright.records import Meaning
    from tallywright.spec.calendar import Calendar
    from tallywright.spec.model import ModelSpec
    from tallywright.spec.sections import MetricBound

__all__ = ["PERFORMANCE", "Due", "Performance", "PerformanceRow", "realised"]

Position = tuple[int, int | None, int | None]
_READINGS: Final = 5
_READABLE: Final = 1e15
_NO_CLASS: Final = f"the model has no such class, or more than the {MOST_CLASSES} of which single ones have figures"
COVERAGE: Final = "coverage"
"""The share of scored rows whose label is known: a row of its own, also where no other metric can be had."""


class PerformanceRow(PeriodRecord):
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
    value: float | None
    lower: float | None
    upper: float | None
    bound_min: float | None
    bound_max: float | None
    violated: bool
    rows: int
    known: int
    never: int
    missing: int
    note: str | None = None
    """Why the metric has no value, or a bound on it was not judged."""
    generation: int | None = None
    """Of the tally; None in older rows."""
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


class Performance(PeriodRecord):
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


@dataclass(frozen=True, slots=True)
class Due:
    """A scored date that is to be realised.

    Attributes:
        day: The score date.
        as_of: Labels that arrived by the end of this day count.
        fingerprint: Of the labels as last read; None where no reading is recorded.
        restates: True when it was realised at this label age before, from other labels.
    """

    day: date
    as_of: date
    fingerprint: str | None = None
    restates: bool = False


def label_age(calendar: Calendar, day: date, as_of: date) -> int:
    """How many days after the end of a period its labels are looked at, at the end of another."""
    return (calendar.last_date(as_of) - calendar.last_date(day)).days


def realised(lake: Lake, spec: ModelSpec, day: date, as_of: date, *, fingerprint: str | None = None) -> Performance:
    """Computes and writes the realised metrics of a scored day.

    They are about the tally and the labels that stand when they are written: where another writer has changed either
    meanwhile, they are computed again.

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
    if as_of < day:
        raise UsageError(f"labels of {day} cannot be asked for as of {as_of}", expected=f"{day} or later")
    for _ in range(_READINGS):
        position = _position(lake, spec, day)
        found = _realised_at(lake, spec, Due(day, as_of, fingerprint), position)
        if _position(lake, spec, day) == position:
            return found
        log.info("%s is realised again: its tally or its labels have changed meanwhile", day)
    raise CommitConflictError(
        f"tally and labels of {day} changed {_READINGS} times while they were compared", remedy="run it again"
    )


def _position(lake: Lake, spec: ModelSpec, day: date) -> Position:
    """Generation of the tally, versions of features and labels: what a day's realised metrics are about."""
    features, labels = (content_version(lake, spec.table(what), day) for what in ("features", "labels"))
    return generation_of(lake, spec, day), features, labels


def _realised_at(lake: Lake, spec: ModelSpec, due: Due, position: Position) -> Performance:
    """Computes the metrics, and writes them if what was read still stands."""
    day, as_of = due.day, due.as_of

    def outdated(_: DeltaTable) -> str:
        return "" if _position(lake, spec, day) == position else f"tally or labels of {day} have changed"

    calendar = spec.schedule.calendar
    age = label_age(calendar, day, as_of)
    tally = standing_tally(lake, spec, day)
    meaning = tally.meaning if tally is not None else None
    scored = [labelled_rows(lake, spec, day, as_of)]
    if tally is not None:
        scored += labelled_shadows(lake, spec, tally, as_of)
    mature = as_of >= calendar.settled(day, spec.data.label_maturity)
    common = {
        "score_date": day,
        "window_start": day,
        "window_end": calendar.last_date(day),
        "granularity": f"1 {calendar.cadence}",
        "as_of": as_of,
        "label_age_days": age,
        "mature": mature,
        "model_name": spec.name,
        "labels_fingerprint": due.fingerprint,
        "generation": position[0],
    }
    found = [
        common | row
        for rows in scored
        for segment in _segments(rows, spec)
        for row in _measured(segment, spec, meaning, mature=mature)
    ]
    written = [PerformanceRow(**row) for row in found]
    where: dict[str, Value] = {"score_date": day, "label_age_days": age}
    Table(PERFORMANCE, lake, spec).replace_if_changed(written, where, outdated=outdated)
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


def _measured(segment: _Segment, spec: ModelSpec, meaning: Meaning | None, *, mature: bool) -> Iterator[dict[str, Any]]:
    known = keep(segment.rows, {STATUS: KNOWN})
    counts = {
        "rows": segment.rows.num_rows,
        "known": known.num_rows,
        "never": segment.count(NEVER),
        "missing": segment.count(MISSING),
    }
    least = spec.monitoring.min_labels
    bounds = spec.monitoring.performance_floor if segment.role == Role.CHAMPION else {}
    for figure in _figures(known, segment, spec, meaning):
        floor, note, value = bounds.get(figure.metric), figure.note, figure.value
        if floor is not None and mature and not note and known.num_rows < least:
            note = f"{known.num_rows} labels, at least {least} (monitoring.min_labels)"
        yield counts | {
            "model_version": segment.version,
            "role": segment.role,
            "slice_key": segment.slice_key,
            "slice_value": segment.slice_value,
            "metric": figure.metric,
            "value": value,
            "lower": figure.bounds[0] if figure.bounds else None,
            "upper": figure.bounds[1] if figure.bounds else None,
            "bound_min": floor.min if floor else None,
            "bound_max": floor.max if floor else None,
            "violated": mature and not note and floor is not None and value is not None and _outside(value, floor),
            "note": note or None,
        }


def _figures(known: pa.Table, segment: _Segment, spec: ModelSpec, meaning: Meaning | None) -> Iterator[Figure]:
    """Yields coverage, then the task's metrics; one that a slice does not define is left out."""
    yield Figure(COVERAGE, known.num_rows / segment.rows.num_rows)
    whole, found = segment.slice_key is None, set()
    for figure in figures(known, spec, meaning, by_class=whole):
        found.add(figure.metric)
        if figure.value is not None or whole:
            yield figure
    if whole:
        # A bound on a class that the model does not have is not judged, which must be said.
        yield from (
            Figure(name, None, note=_NO_CLASS) for name in spec.monitoring.performance_floor if name not in found
        )


def _outside(value: float, bound: MetricBound) -> bool:
    return (bound.min is not None and value < bound.min) or (bound.max is not None and value > bound.max)


def violation(row: dict[str, Any]) -> str:
    """Describes a violated bound, such as `roc_auc of 2013-03-01 is 0.512, bound 0.55 or more`."""
    bounds = [f"{row['bound_min']:g} or more"] if row["bound_min"] is not None else []
    bounds += [f"{row['bound_max']:g} or less"] if row["bound_max"] is not None else []
    # Decisions have this text in their identity: only what nobody could read is written otherwise.
    value = f"{row['value']:.3f}" if abs(row["value"]) < _READABLE else f"{row['value']:.3g}"
    return f"{row['metric']} of {row['score_date']} is {value}, bound {' and '.join(bounds)}"


def unjudged(row: dict[str, Any]) -> str:
    """Describes a bound that could not be judged, such as `roc_auc of 2013-03-01: no label is known`."""
    return f"{row['metric']} of {row['score_date']}: {row['note']}"


def _summary(spec: ModelSpec, rows: list[dict[str, Any]]) -> Performance:
    """The metrics of the champion's whole day; of the first model when none was champion."""
    whole = [row for row in rows if row["slice_key"] is None]
    served = [row for row in whole if row["role"] != Role.SHADOW] or whole
    mine = [row for row in served if row["role"] == Role.CHAMPION] or served
    first = mine[0]
    return Performance(
        model=spec.name,
        **{
            name: first[name]
            for name in ("score_date", "as_of", "label_age_days", "mature", "rows", "known", "never", "missing")
        },
        metrics={
            row["metric"]: row["value"]
            for row in mine
            if row["model_version"] == first["model_version"] and row["value"] is not None
        },
        violated=tuple(violation(row) for row in mine if row["violated"]),
    )
