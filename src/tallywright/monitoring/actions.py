"""Claims the training that a decision asks for, at most once: the rows of `<model>__actions`.

A decision may be made again without harm; a training costs money. It belongs to the run that claimed it, so that a
retry of that run gets the same result and no other run ever does.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.monitoring.decisions import DECISIONS, current_decisions
from tallywright.records import PeriodRecord

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.records import RetrainDecision
    from tallywright.spec.model import ModelSpec

TRAIN: Final = "train"


class ActionRow(PeriodRecord):
    """One row of `<model>__actions`."""

    score_date: date
    model_name: str
    action: str
    decision_id: str
    run_id: str
    claimed_at: datetime


ACTIONS: Final = Declaration(
    what="actions",
    record=ActionRow,
    key=("decision_id",),
    slice=("model_name",),
    kind=Kind.UPDATE,
    doc="which run started the training that a decision asked for",
)


def claim_action(
    lake: Lake,
    spec: ModelSpec,
    decision: RetrainDecision,
    *,
    act: bool,
    run_id: str = "",
    claimed_at: datetime | None = None,
) -> bool:
    """Returns True when this run is to start training, and records that it has claimed it.

    Never unless asked to, never for a decision that is not the newest or was superseded, never within the cooldown of
    an earlier action, never when the spec does not trigger.

    Args:
        lake: `<model>__decisions` is read, `<model>__actions` written.
        spec: The model.
        decision: What `decide` gave.
        act: True when the caller starts training on True; False in a backfill, or when somebody only looks.
        run_id: The claiming run; the same run gets the same result again, so a retry loses no action.
        claimed_at: The wall clock; now, when not given.
    """
    if not act or not decision.retrain or not spec.retraining.trigger:
        return False
    now = claimed_at or datetime.now(UTC)
    mine = False

    def propose(rows: list[ActionRow]) -> list[ActionRow] | None:
        nonlocal mine
        mine = False
        if not _is_newest(lake, spec, decision):
            return None
        asked = (decision.decision_id, run_id)
        mine = bool(run_id) and any((row.decision_id, row.run_id) == asked for row in rows)
        if any(_too_close(row.score_date, decision.score_date, spec) for row in rows):
            return None
        claim = ActionRow(
            score_date=decision.score_date,
            model_name=spec.name,
            action=TRAIN,
            decision_id=decision.decision_id,
            run_id=run_id,
            claimed_at=now,
        )
        return [*rows, claim]

    return Table(ACTIONS, lake, spec).update(propose, {"model_name": spec.name}) or mine


def _is_newest(lake: Lake, spec: ModelSpec, decision: RetrainDecision) -> bool:
    standing = current_decisions(Table(DECISIONS, lake, spec).read())
    if not standing:
        return False
    newest = max(standing)
    return newest == decision.score_date and standing[newest].decision_id == decision.decision_id


def _too_close(earlier: date, day: date, spec: ModelSpec) -> bool:
    first, second = sorted((earlier, day))
    return second <= spec.schedule.calendar.after(first, spec.retraining.cooldown)
