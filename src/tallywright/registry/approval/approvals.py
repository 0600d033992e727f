"""What an answer that stands in the promotion log is good for: approvals and rejections.

The newest answer about a version counts. No answer is none.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tallywright.errors import GateRefusedError
from tallywright.observability import log
from tallywright.registry.approval.answers import (
    SignedAnswer,
    keys_of,
    named_approvers,
    people_of,
    reports_digest,
    standing_answer,
    stored_answer,
)
from tallywright.registry.approval.authentication import verified
from tallywright.registry.promotion_chain import head_digest
from tallywright.registry.promotion_log import APPROVE, REJECT, PromotionLog
from tallywright.spec.demands import approval_sections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Decision, Promotion
    from tallywright.spec import Project
    from tallywright.spec.demands import Demands
    from tallywright.spec.sections import Registry


def with_approval(project: Project, lake: Lake, decision: Decision, day: date, demands: Demands) -> Decision:
    """The decision; by an approval that stands in the log, where no approver answers here and now.

    Args:
        project: Whose decision.
        lake: Where the log stands.
        decision: As it is asked for; by somebody who may approve, or who merely asks.
        day: The first score date of the promotion.
        demands: What the version has to show.

    Raises:
        GateRefusedError: A person has to approve, and the approval that stands is about something else.
    """
    sections = approval_sections(project, demands.registry)
    named = named_approvers(sections)
    if decision.authentication and (named is None or decision.approver in named):
        return decision
    entries, asked_by = PromotionLog(lake, project.spec).entries(), ""
    standing = standing_answer(entries, decision.candidate_version, decision.candidate_digest)
    wanted = decision
    if decision.authentication and standing is not None:
        asked_by = f"; asked for by {decision.approver} ({decision.authentication})"
        wanted = decision.model_copy(update={"approver": standing.approver})
    try:
        approval = approval_in(entries, wanted, day, keys_of(*sections[:2]))
    except GateRefusedError as error:
        if any(one.approval == "person" for one in sections):
            raise
        log.warning("%s", error.found)
        return decision
    if approval is None:
        return decision
    known = f"line {approval.sequence}: {approval.authentication}{asked_by}"
    return wanted.model_copy(update={"authentication": known, "answer": approval.sequence})


def approval_in(
    entries: Sequence[Promotion], decision: Decision, day: date, keys: Mapping[str, str]
) -> Promotion | None:
    """The approval that stands for a version and is by the decision's approver; None where there is none.

    Args:
        entries: The log.
        decision: The reports that a promotion would rest on now, and who is said to approve.
        day: The first score date of the promotion.
        keys: The public keys by which approvers are known.

    Raises:
        GateRefusedError: It stands, and is not about this promotion, or not what the approver has signed.
    """
    entry = standing_answer(entries, decision.candidate_version, decision.candidate_digest)
    if entry is None or entry.action != APPROVE or entry.approver != decision.approver:
        return None
    answer, signature = stored_answer(entry)
    before = [one for one in entries if one.sequence < entry.sequence]
    wanted = SignedAnswer(
        model=decision.model,
        version=decision.candidate_version,
        digest=decision.candidate_digest,
        reports=reports_digest(decision.reports),
        answer=APPROVE,
        effective_from=str(day) if answer.effective_from else "",
        by=decision.approver,
        reason=entry.reason,
        after=head_digest(before) if before else "",
    )
    different = [name for name, told in asdict(answer).items() if told != getattr(wanted, name)]
    if different or entry.approver not in keys:
        found = f"is about another {', '.join(different)}" if different else "is by nobody whose key the spec names"
        raise GateRefusedError(
            f"the approval in line {entry.sequence} of the log {found}",
            expected=f"an approval of version {decision.candidate_version} with its reports as they are, for {day}",
            remedy=f"let {entry.approver} look again: tally approve {decision.model} {decision.candidate_version} "
            "--reason WHY --key FILE",
        )
    verified(answer, signature, keys[entry.approver])
    return entry


def require_not_rejected(
    entries: Sequence[Promotion], decision: Decision, demands: Demands, committed: Registry
) -> None:
    """Refuses a version that was rejected, unless an approver has approved since, or does so with this promotion.

    Raises:
        GateRefusedError: Names who rejected it, and why.
    """
    newest = standing_answer(entries, decision.candidate_version, decision.candidate_digest)
    if newest is None or newest.sequence == decision.answer:
        return
    sections = (demands.registry, committed)
    named = named_approvers(sections)
    if named is None:
        # Whoever signs approvals by a key is an approver; without any, whoever is authenticated.
        named = people_of(keys_of(*sections)) or frozenset({decision.approver})
    known = decision.authentication and decision.answer is None and decision.approver in named
    if newest.action == REJECT and not known:
        raise GateRefusedError(
            f"version {decision.candidate_version} was rejected by {newest.approver} in line {newest.sequence} of the "
            f"log: {newest.reason}",
            expected=f"a newer approval by {' or '.join(sorted(named))}",
            remedy=f"tally approve {decision.model} {decision.candidate_version} --reason WHY --key FILE, or train a "
            "better candidate",
        )
    if decision.answer is not None:
        raise GateRefusedError(
            f"the approval in line {decision.answer} of the log was followed by another answer in line "
            f"{newest.sequence}",
            expected="a promotion that rests on the newest answer",
            remedy="promote again",
        )
