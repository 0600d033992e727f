"""Whether a person has to approve of a challenger's next stage, and whether somebody has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.errors import GateRefusedError
from tallywright.lifecycle.steps.promotion import demands_on, policy, reports_for, verified
from tallywright.records import Decision
from tallywright.registry.approval.answers import keys_of, standing_answer
from tallywright.registry.approval.approvals import approval_in
from tallywright.registry.promotion_log import REJECT, PromotionLog
from tallywright.registry.versions import find
from tallywright.spec.demands import approval_sections

if TYPE_CHECKING:
    from datetime import date

    from tallywright.lifecycle.context import RunContext


@dataclass(frozen=True, slots=True)
class StageApproval:
    """Who approves of a stage, and how they are known; or that somebody is waited for, or that it was rejected."""

    approver: str = ""
    authentication: str = ""
    waits: str = ""
    rejected: str = ""


def approval_of(context: RunContext, version: int, effective_from: date, *, since: int = 0) -> StageApproval:
    """The approval of a version's next stage: the policy's, or a person's that stands in the log.

    Args:
        context: Of the run.
        version: Which version.
        effective_from: The first date of the stage.
        since: Only an answer after this entry of the log counts: whoever gave it knew what had been found by then.
    """
    ref, package = verified(context, find(context.project, version))
    sections = approval_sections(context.project, demands_on(context, package).registry)
    entries = PromotionLog(context.lake, context.spec).entries()
    answer = standing_answer(entries, ref.version, ref.digest)
    if answer is not None and answer.action == REJECT:
        return StageApproval(rejected=f"rejected by {answer.approver} in line {answer.sequence}: {answer.reason}")
    if all(section.approval != "person" for section in sections):
        return StageApproval(policy(context.spec))
    asked = f"tally approve {context.spec.name} {version} --reason WHY --key FILE"
    if answer is None or answer.sequence <= since:
        return StageApproval(waits=f"a person has to approve, for {effective_from} or later: {asked}")
    decision = Decision(
        model=context.spec.name,
        candidate_version=ref.version,
        candidate_digest=ref.digest,
        judged_digest=package.meta.judged,
        reports=reports_for(context, package, effective_from),
        approver=answer.approver,
        reason=answer.reason,
    )
    try:
        approval = approval_in(entries, decision, effective_from, keys_of(*sections[:2]))
    except GateRefusedError as error:
        return StageApproval(waits=f"{error.found}: {asked}")
    assert approval is not None  # noqa: S101 - it is the answer that stands
    return StageApproval(answer.approver, f"line {answer.sequence}: {answer.authentication}")
