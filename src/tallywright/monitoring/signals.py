"""What the policy knows of each day, gathered from the tables: tallies, gates, drift, performance."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.rows import rows_of
from tallywright.monitoring.performance import violation
from tallywright.monitoring.policy import DaySignals
from tallywright.records import Role, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec

DAY_GATE: Final = "day"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The rows that the days' signals are made of."""

    tallies: dict[date, Row]
    gate: dict[str, str]
    drift: dict[date, list[Row]]
    performance: dict[date, list[str]]


def day_signals(lake: Lake, spec: ModelSpec, days: Iterable[date]) -> list[DaySignals]:
    """The signals of these days and of every day that has a tally, in order.

    A day is broken when it has no tally, when the day gate did not pass for the input that was scored, or when its
    latest tally was not compared with the reference.
    """
    evidence = _Evidence(
        tallies=_latest_tallies(lake, spec),
        gate=_day_gate(lake, spec),
        drift=_drift(lake, spec),
        performance=_performance(lake, spec),
    )
    return [_signals(spec, day, evidence) for day in sorted({*days, *evidence.tallies})]


def _signals(spec: ModelSpec, day: date, evidence: _Evidence) -> DaySignals:
    tally, drift = evidence.tallies.get(day), evidence.drift.get(day, [])
    return DaySignals(
        model=spec.name,
        score_date=day,
        model_version=drift[0]["model_version"] if drift else 0,
        broken=_broken(day, tally, evidence),
        drifted=tuple(sorted({row["column_name"] for row in drift if row["violated"]})),
        performance=tuple(evidence.performance.get(day, ())),
    )


def _broken(day: date, tally: Row | None, evidence: _Evidence) -> str:
    """Why the day's data cannot be used; empty for a sound day."""
    if tally is None:
        return "not scored"
    verdict = evidence.gate.get(f"{day}@{tally['input_fingerprint']}")
    if verdict is None:
        return "the scored input has no day gate result"
    if verdict == Verdict.FAIL:
        return "the day gate failed"
    if not any(row["generation"] == tally["generation"] for row in evidence.drift.get(day, [])):
        return f"generation {tally['generation']} was not compared"
    return ""


def _latest_tallies(lake: Lake, spec: ModelSpec) -> dict[date, Row]:
    rows = _rows(lake, spec, "tallies", ["score_date", "generation", "input_fingerprint"])
    return {row["score_date"]: row for row in sorted(rows, key=lambda row: row["generation"])}


def _day_gate(lake: Lake, spec: ModelSpec) -> dict[str, str]:
    """The verdict of the newest report of the day gate, by subject."""
    rows = _rows(lake, spec, "gates", ["gate", "subject", "gate_verdict", "recorded_at"])
    newest = sorted((row for row in rows if row["gate"] == DAY_GATE), key=lambda row: row["recorded_at"])
    return {row["subject"]: row["gate_verdict"] for row in newest}


def _drift(lake: Lake, spec: ModelSpec) -> dict[date, list[Row]]:
    columns = ["score_date", "generation", "model_version", "column_name", "violated"]
    found: dict[date, list[Row]] = defaultdict(list)
    for row in _rows(lake, spec, "drift", columns):
        found[row["score_date"]].append(row)
    return found


def _performance(lake: Lake, spec: ModelSpec) -> dict[date, list[str]]:
    """The violated bounds of realised metrics, by the day on which a score date was first realised with mature labels.

    Only the whole day of the champion counts; slices and later label ages are reported in the table. So a decision
    knows nothing that was not known on its day, while a restated label of that age changes it.
    """
    columns = [
        "score_date", "as_of", "label_age_days", "mature", "role", "slice_key", "metric", "value", "bound_min",
        "bound_max", "violated",
    ]  # fmt: skip
    rows = [
        row
        for row in _rows(lake, spec, "performance", columns)
        if row["mature"] and row["role"] == Role.CHAMPION and row["slice_key"] is None
    ]
    first: dict[date, int] = {}
    for row in rows:
        age = row["label_age_days"]
        first[row["score_date"]] = min(age, first.get(row["score_date"], age))
    found: dict[date, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["score_date"], row["metric"])):
        if row["violated"] and row["label_age_days"] == first[row["score_date"]]:
            found[row["as_of"]].append(violation(row))
    return found


def _rows(lake: Lake, spec: ModelSpec, what: str, columns: list[str]) -> list[Row]:
    table = spec.table(what)
    return [] if lake.find(table) is None else rows_of(lake.read(table, columns=columns))
