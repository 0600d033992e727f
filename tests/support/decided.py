"""Entries of the promotion log as the product writes them: with the decision of the gates about their version."""

from __future__ import annotations

from tallywright.records import Check, Decision, GateReport, Promotion, Verdict
from tallywright.registry.promotion_log import WITHDRAW


def decided(entry: Promotion) -> Promotion:
    """The entry with a decision that approves of its version; a withdrawal needs none."""
    if entry.action == WITHDRAW:
        return entry
    check = (Check(name="all", verdict=Verdict.PASS),)
    decision = Decision(
        model=entry.model,
        candidate_version=entry.model_version,
        candidate_digest=entry.package_digest,
        reports=tuple(
            GateReport(gate=gate, model=entry.model, subject=entry.package_digest, checks=check)
            for gate in ("operations", "quality")
        ),
        approver=entry.approver,
        reason=entry.reason,
    )
    return entry.model_copy(update={"decision_json": decision.to_json()})
