"""Retraining decisions: the rows of `<model>__decisions`, computed by the policy from signals in the other tables.

The decision in a row never changes. When the signals behind it change, the row is marked as superseded and the next
revision follows, so the table has both what holds now and what was decided then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.rows import Filter, rows_of, written_order
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.monitoring.performance import PERFORMANCE, unjudged, violation
from tallywright.monitoring.periods import PeriodState, read_periods
from tallywright.monitoring.policy import DaySignals, fold
from tallywright.records import OPERATIONS, QUALITY, PeriodRecord, Role, Verdict
from tallywright.score_period import HOUR_COLUMN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tallywright.data.delta.lake import Lake
    from tallywright.monitoring.periods import PeriodRow
    from tallywright.records import RetrainDecision
    from tallywright.spec.base import Identity
    from tallywright.spec.model import ModelSpec

DAY_GATE: Final = "day"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The rows of other tables that the days' signals are computed from."""

    tallies: dict[date, Row]
    gate: dict[str, str]
    drift: dict[date, list[Row]]
    performance: dict[date, list[str]]
    unjudged: dict[date, list[str]]
    trainings: dict[date, str]
    periods: dict[date, PeriodRow]


def day_signals(
    lake: Lake, spec: ModelSpec, days: Iterable[date], periods: dict[date, PeriodRow] | None = None
) -> list[DaySignals]:
    """The signals of these days, of every day that has a tally, and of every period with a row, in order.

    A day is broken when it has no tally, when the day gate did not pass for the input that was scored, or when its
    latest tally was not compared with the reference. What became known on a day that is no evidence is said by the next
    day that is.
    """
    violated, unjudged_bounds = _performance(lake, spec)
    evidence = _Evidence(
        tallies=_latest_tallies(lake, spec),
        gate=_day_gate(lake, spec),
        drift=_drift(lake, spec),
        performance=violated,
        unjudged=unjudged_bounds,
        trainings=_trainings(lake, spec),
        periods=read_periods(lake, spec) if periods is None else periods,
    )
    found = [_signals(spec, day, evidence) for day in sorted({*days, *evidence.tallies, *evidence.periods})]
    sound = [day.score_date for day in found if day.sound]
    told, unjudged = (_told(sound, known) for known in (evidence.performance, evidence.unjudged))
    return [
        day.model_copy(
            update={
                "performance": told.get(day.score_date, ()),
                "unjudged": (*day.unjudged, *unjudged.get(day.score_date, ())),
            }
        )
        for day in found
    ]


def _told(sound: list[date], known: dict[date, list[str]]) -> dict[date, tuple[str, ...]]:
    """What became known of realised metrics, by the first sound day on which it was known."""
    told: dict[date, list[str]] = defaultdict(list)
    for when in sorted(known):
        place = bisect_left(sound, when)
        if place < len(sound):
            told[sound[place]] += known[when]
    return {day: tuple(texts) for day, texts in told.items()}


def _signals(spec: ModelSpec, day: date, evidence: _Evidence) -> DaySignals:
    tally, drift = evidence.tallies.get(day), evidence.drift.get(day, [])
    period = evidence.periods.get(day)
    closed = period.detail if tally is None and period is not None and period.state == PeriodState.CLOSED else ""
    partial = tally is not None and not spec.schedule.calendar.ends_its_date(day)
    return DaySignals(
        model=spec.name,
        score_date=day,
        model_version=drift[0]["model_version"] if drift else 0,
        broken="" if closed else _broken(day, tally, evidence),
        drifted=tuple(sorted({row["column_name"] for row in drift if row["violated"]})),
        unjudged=() if partial else tuple(dict.fromkeys(_drift_unjudged(drift))),
        closed=closed,
        partial=partial,
        acted=day in evidence.trainings,
        outcome=evidence.trainings.get(day, ""),
    )


def _drift_unjudged(drift: list[Row]) -> list[str]:
    return [f"drift: {row['not_judged']}" for row in drift if row.get("not_judged")]


def _broken(day: date, tally: Row | None, evidence: _Evidence) -> str:
    """The reason why the day's data cannot be used; empty for a sound day."""
    if tally is None:
        return _why_not_scored(evidence.periods.get(day))
    verdict = evidence.gate.get(f"{day}@{tally['input_fingerprint']}")
    if verdict is None:
        return "the scored input has no day gate result"
    if verdict == Verdict.FAIL:
        return "the day gate failed"
    if not any(row["generation"] == tally["generation"] for row in evidence.drift.get(day, [])):
        return f"generation {tally['generation']} was not compared"
    return ""


def _why_not_scored(period: PeriodRow | None) -> str:
    if period is None or period.state != PeriodState.REFUSED:
        return "not scored"
    checks = f", {', '.join(period.checks)}" if period.checks else ""
    return f"refused with {period.reason}{checks} (exit code {period.exit_code})"


def _latest_tallies(lake: Lake, spec: ModelSpec) -> dict[date, Row]:
    rows = _rows(lake, spec, "tallies", ["score_date", "generation", "input_fingerprint"])
    return {row["score_date"]: row for row in sorted(rows, key=lambda row: row["generation"])}


def _day_gate(lake: Lake, spec: ModelSpec) -> dict[str, str]:
    """The verdict of the newest report of the day gate, by subject."""
    rows = _rows(lake, spec, "gates", ["gate", "subject", "gate_verdict", "recorded_at", "sequence"])
    newest = sorted((row for row in rows if row["gate"] == DAY_GATE), key=written_order)
    return {row["subject"]: row["gate_verdict"] for row in newest}


def _drift(lake: Lake, spec: ModelSpec) -> dict[date, list[Row]]:
    columns = ["score_date", "generation", "model_version", "column_name", "violated", "not_judged"]
    found: dict[date, list[Row]] = defaultdict(list)
    for row in _rows(lake, spec, "drift", columns):
        found[row["score_date"]].append(row)
    return found


def _trainings(lake: Lake, spec: ModelSpec) -> dict[date, str]:
    """How the training ended that was asked for on a day; empty while its gates have said nothing.

    The first quality report that is recorded after the request is about it; the registry's word comes with it.
    """
    asked = sorted(_rows(lake, spec, "actions", ["score_date", "claimed_at"]), key=lambda row: row["claimed_at"])
    if not asked:
        return {}
    rows = _rows(lake, spec, "gates", ["gate", "gate_verdict", "recorded_at", "check_name", "verdict"])
    found, refused = {}, 0
    for row, until in zip(asked, [*(row["claimed_at"] for row in asked[1:]), None], strict=True):
        reports = [
            report
            for report in rows
            if report["gate"] != DAY_GATE
            and report["recorded_at"] > row["claimed_at"]
            and (until is None or report["recorded_at"] <= until)
        ]
        failed = _gates_that_said(Verdict.FAIL, reports)
        refused = refused + 1 if failed else 0 if reports else refused
        if failed:
            found[row["score_date"]] = f"its candidate was refused by {failed}, {refused} in a row"
        elif {report["gate"] for report in reports} >= {QUALITY, OPERATIONS}:
            undecided = _gates_that_said(Verdict.UNDECIDED, reports)
            found[row["score_date"]] = (
                f"its candidate is undecided by {undecided}" if undecided else "its candidate passed the gates"
            )
        else:
            found[row["score_date"]] = ""
    return found


def _gates_that_said(verdict: Verdict, reports: list[Row]) -> str:
    """The gates with a verdict and their checks with it, in words; empty where none has it."""
    gates = sorted({report["gate"] for report in reports if report["gate_verdict"] == verdict})
    checks = sorted({report["check_name"] for report in reports if report["verdict"] == verdict})
    return f"the gate {' and '.join(gates)} ({', '.join(checks)})" if gates else ""


def _performance(lake: Lake, spec: ModelSpec) -> tuple[dict[date, list[str]], dict[date, list[str]]]:
    """The violated bounds of realised metrics, and those that could not be judged.

    Each by the day on which a score date was first realised with mature labels.

    Only the whole day of the champion counts; slices and later label ages are reported in the table. So a decision
    uses nothing that was not known on its day, while a restated label of that age changes it.
    """
    columns = ["score_date", "as_of", "label_age_days", "metric", "value", "bound_min", "bound_max", "violated", "note"]
    counting: Filter = {"mature": True, "role": Role.CHAMPION.value, "slice_key": None}
    rows = Table(PERFORMANCE, lake, spec).rows(counting, columns)
    first: dict[date, int] = {}
    for row in rows:
        age = row["label_age_days"]
        first[row["score_date"]] = min(age, first.get(row["score_date"], age))
    known_on = spec.schedule.calendar.last_open_on
    violated: dict[date, list[str]] = defaultdict(list)
    not_judged: dict[date, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["score_date"], row["metric"])):
        if row["label_age_days"] != first[row["score_date"]]:
            continue
        if row["violated"]:
            violated[known_on(row["as_of"])].append(violation(row))
        elif row.get("note") and (row["bound_min"], row["bound_max"]) != (None, None):
            not_judged[known_on(row["as_of"])].append(unjudged(row))
    return violated, not_judged


def _rows(lake: Lake, spec: ModelSpec, what: str, columns: list[str]) -> list[Row]:
    """The rows of a table; columns that it does not have yet are left out."""
    table = lake.find(spec.table(what))
    if table is None:
        return []
    stored = {field.name for field in table.schema().fields}
    wanted = [name for name in (*columns, HOUR_COLUMN) if name in stored]
    return rows_of(lake.read(spec.table(what), columns=wanted, version=table))


class DecisionRow(PeriodRecord):
    """One row of `<model>__decisions`."""

    score_date: date
    revision: int
    model_name: str
    state: str
    retrain: bool
    reasons: tuple[str, ...]
    signals_json: str
    policy_digest: str
    decision_id: str
    recorded_at: datetime
    superseded: bool
    superseded_at: datetime | None


DECISIONS: Final = Declaration(
    what="decisions",
    record=DecisionRow,
    key=("score_date", "revision"),
    slice=("model_name",),
    kind=Kind.UPDATE,
    doc="the retraining decision of each day, with its superseded revisions",
)


def decide(lake: Lake, spec: ModelSpec, day: date, *, recorded_at: datetime | None = None) -> RetrainDecision:
    """Makes the decision of a day; see `decide_days`."""
    return decide_days(lake, spec, [day], recorded_at=recorded_at)[day]


def decide_days(
    lake: Lake, spec: ModelSpec, asked: Collection[date], *, recorded_at: datetime | None = None
) -> dict[date, RetrainDecision]:
    """Makes the decisions of these days, and writes those that are new or changed, of other days too.

    Decisions of an older policy about other days stay: a new policy does not rewrite history.

    Args:
        lake: Tallies, gates, drift and performance are read; `<model>__decisions` is written.
        spec: The model, with its policy.
        asked: Score dates; each gets a row even when nothing was scored, and so does every period that was not scored.
        recorded_at: The wall clock of new rows; now, when not given.

    Returns:
        The decision of each date that was asked for.
    """
    now = recorded_at or datetime.now(UTC)
    decided: dict[date, RetrainDecision] = {}

    def propose(rows: list[DecisionRow]) -> list[DecisionRow] | None:
        days = {*asked, *(row.score_date for row in rows)}
        periods = read_periods(lake, spec)
        decisions = fold(day_signals(lake, spec, days, periods), spec.retraining, spec.schedule.calendar)
        decided.update({decision.score_date: decision for decision in decisions})
        # Nobody else asks for a decision about a period that ended without a tally.
        due = {*asked, *(day for day, row in periods.items() if row.state != PeriodState.SCORED)}
        return _rewrite(rows, decided, (spec.retraining.identity(), asked, due), now)

    Table(DECISIONS, lake, spec).update(propose, {"model_name": spec.name})
    return {day: decided[day] for day in asked}


def current_decisions(rows: list[DecisionRow]) -> dict[date, DecisionRow]:
    """The rows that are not superseded, by date."""
    return {row.score_date: row for row in rows if not row.superseded}


def _rewrite(
    rows: list[DecisionRow],
    decided: dict[date, RetrainDecision],
    wanted: tuple[Identity, Collection[date], Collection[date]],
    now: datetime,
) -> list[DecisionRow] | None:
    """The new rows of the table; None when every row agrees with the fold.

    Args:
        rows: Those that are there.
        decided: The fold.
        wanted: The policy; the dates whose rows follow it whatever policy they were of; the dates that must have a row.
        now: The wall clock.
    """
    policy, asked, due = wanted
    standing = current_decisions(rows)
    changed = {
        when
        for when, row in standing.items()
        if row.decision_id != decided[when].decision_id and (when in asked or policy.matches(row.policy_digest))
    }
    fresh = changed | (set(due) - standing.keys())
    if not fresh:
        return None
    revisions = Counter(row.score_date for row in rows)
    kept = [_superseded(row, now) if row.score_date in changed else row for row in rows]
    added = [_row(decided[when], revisions[when] + 1, now) for when in sorted(fresh)]
    return sorted([*kept, *added], key=lambda row: (row.score_date, row.revision))


def _superseded(row: DecisionRow, now: datetime) -> DecisionRow:
    return row if row.superseded else row.model_copy(update={"superseded": True, "superseded_at": now})


def _row(decision: RetrainDecision, revision: int, now: datetime) -> DecisionRow:
    return DecisionRow(
        **decision.model_dump(exclude={"model", "state"}),
        model_name=decision.model,
        state=decision.state.value,
        revision=revision,
        recorded_at=now,
        superseded=False,
        superseded_at=None,
    )
