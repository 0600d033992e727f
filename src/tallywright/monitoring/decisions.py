"""The rows of `<model>__decisions`: what the policy says of each day, and what it said before an earlier day changed.

A row is never changed in what it says. When the signals behind it change, it is marked as superseded and the next
revision follows, so the table answers both "what is right now" and "what was believed then".
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.declaration import Declaration, Kind
from tallywright.data.delta.table import Table
from tallywright.monitoring.policy import fold
from tallywright.monitoring.signals import day_signals
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Collection

    from tallywright.data.delta.lake import Lake
    from tallywright.records import RetrainDecision
    from tallywright.spec.identity import Identity
    from tallywright.spec.model import ModelSpec


class DecisionRow(Record):
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
    doc="what the retraining policy says of each day, and what it said before an earlier day changed",
)


def decide(lake: Lake, spec: ModelSpec, day: date, *, recorded_at: datetime | None = None) -> RetrainDecision:
    """The decision of a day; see `decide_days`."""
    return decide_days(lake, spec, [day], recorded_at=recorded_at)[day]


def decide_days(
    lake: Lake, spec: ModelSpec, asked: Collection[date], *, recorded_at: datetime | None = None
) -> dict[date, RetrainDecision]:
    """The decisions of these days, written unless they stand there; so are those of other days that changed.

    What an older policy decided of other days stays: a new policy does not rewrite history.

    Args:
        lake: Tallies, gates, drift and performance are read; `<model>__decisions` is written.
        spec: The model, with its policy.
        asked: Score dates; each gets a row even when nothing was scored.
        recorded_at: The wall clock of new rows; now, when not given.

    Returns:
        The decision of each date that was asked for.
    """
    now = recorded_at or datetime.now(UTC)
    decided: dict[date, RetrainDecision] = {}

    def propose(rows: list[DecisionRow]) -> list[DecisionRow] | None:
        days = {*asked, *(row.score_date for row in rows)}
        decisions = fold(day_signals(lake, spec, days), spec.retraining)
        decided.update({decision.score_date: decision for decision in decisions})
        return _rewrite(rows, decided, spec.retraining.identity(), asked, now)

    Table(DECISIONS, lake, spec).update(propose, {"model_name": spec.name})
    return {day: decided[day] for day in asked}


def current_decisions(rows: list[DecisionRow]) -> dict[date, DecisionRow]:
    """The rows that are not superseded, by date."""
    return {row.score_date: row for row in rows if not row.superseded}


def _rewrite(
    rows: list[DecisionRow],
    decided: dict[date, RetrainDecision],
    policy: Identity,
    asked: Collection[date],
    now: datetime,
) -> list[DecisionRow] | None:
    """The table as it shall stand; None when every row says what the fold says."""
    standing = current_decisions(rows)
    changed = {
        when
        for when, row in standing.items()
        if row.decision_id != decided[when].decision_id and (when in asked or policy.matches(row.policy_digest))
    }
    fresh = changed | (set(asked) - standing.keys())
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
