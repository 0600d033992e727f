"""The entries of the promotion log that a rollout writes: the beginning of a stage, and a return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.records import Decision, Promotion, Role
from tallywright.registry.approval.authentication import system_user
from tallywright.registry.promotion_log import RETURN, STAGE
from tallywright.registry.stages import StageTerms
from tallywright.spec.rollout import CANARY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from tallywright.records import GateReport
    from tallywright.spec import ModelSpec
    from tallywright.spec.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that an entry is about, as the registry or an earlier entry has it."""

    version: int
    digest: str
    trained_through: date


@dataclass(frozen=True, slots=True)
class Because:
    """Why an entry is written: in words, by which reports, and who has approved."""

    reason: str
    reports: Sequence[GateReport] = ()
    approver: str = ""
    authentication: str = ""


def terms_for(spec: ModelSpec, rollout: Rollout, number: int, champion: int) -> StageTerms:
    """The terms of a stage as the spec gives them today.

    Args:
        spec: Whose metric and least gain count where the rollout says nothing else.
        rollout: The rules.
        number: Of the stage, from 1.
        champion: The version that it is held against.
    """
    stage, of = rollout.stages[number - 1], len(rollout.stages)
    test = rollout.mode == "ab" and number == of
    return StageTerms(
        number=number,
        of=of,
        role=Role.CANARY if stage.stage == CANARY else Role.SHADOW,
        share=stage.share or 0.0,
        days=stage.days,
        margin=stage.margin,
        test=test,
        min_gain=spec.gates.min_gain if test else 0.0,
        metric=rollout.metric or spec.gates.primary_metric,
        level=rollout.level,
        max_loss=rollout.max_loss,
        limits=rollout.limits,
        costs=spec.gates.costs,
        champion=champion,
        maturity=spec.data.label_maturity,
    )


def stage_entry(
    spec: ModelSpec, subject: Subject, terms: StageTerms, because: Because, *, effective_from: date, now: datetime
) -> Promotion:
    """The entry that begins a stage."""
    entry = _entry(spec, STAGE, subject, because, effective_from=effective_from, now=now)
    return entry.model_copy(update={"stage_json": terms.to_json()})


def return_entry(
    spec: ModelSpec, subject: Subject, because: Because, *, effective_from: date, now: datetime
) -> Promotion:
    """The entry that ends a trial without a promotion."""
    return _entry(spec, RETURN, subject, because, effective_from=effective_from, now=now)


def _entry(
    spec: ModelSpec, action: str, subject: Subject, because: Because, *, effective_from: date, now: datetime
) -> Promotion:
    approver = because.approver or f"rollout of {spec.name}"
    decision = Decision(
        model=spec.name,
        candidate_version=subject.version,
        candidate_digest=subject.digest,
        reports=tuple(because.reports),
        approver=approver,
        reason=because.reason,
        authentication=because.authentication,
    )
    return Promotion(
        model=spec.name,
        sequence=0,
        action=action,
        model_version=subject.version,
        package_digest=subject.digest,
        trained_through=subject.trained_through,
        effective_from=effective_from,
        recorded_at=now,
        approver=approver,
        reason=because.reason,
        decision_json=decision.to_json(),
        authentication=because.authentication,
        recorded_by=system_user(),
    )
