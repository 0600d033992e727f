"""The gate steps of the train pipeline: each records its report; a failed one stops the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.snapshot import Snapshot, read_split
from tallywright.gates.operations import operations_gate as run_operations_gate
from tallywright.gates.quality import quality_gate as run_quality_gate
from tallywright.gates.record import record_report
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.handover import handed_package
from tallywright.lifecycle.steps.day import require_passed
from tallywright.registry.promotion_log import PromotionLog, withdrawals
from tallywright.registry.resolve import as_ref

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.records import GateReport, ModelRef


def quality_gate(context: RunContext) -> dict[str, Any]:
    """Compares the candidate with its metric bounds and with the champion, on the held-out rows of its snapshot."""
    candidate, _ = handed_package(context)
    if _is_champion(context, candidate):
        return {"subject": candidate.digest, "note": "already the champion; its reports stand"}
    snapshot = Snapshot.from_json(candidate.meta.snapshot_json)
    holdout = read_split(context.project, context.lake, snapshot, "holdout")
    report = run_quality_gate(context.project, candidate=candidate, champion=_champion(context), holdout=holdout)
    return _recorded(context, report)


def operations_gate(context: RunContext) -> dict[str, Any]:
    """Checks that the package loads, agrees with training, is fast enough and has an owner."""
    candidate, _ = handed_package(context)
    if _is_champion(context, candidate):
        return {"subject": candidate.digest, "note": "already the champion; its reports stand"}
    withdrawn = sorted(withdrawals(PromotionLog(context.lake, context.spec).entries()))
    report = run_operations_gate(
        context.project, candidate, rollback_target=_champion_ref(context), withdrawn=withdrawn
    )
    return _recorded(context, report)


def _is_champion(context: RunContext, candidate: Package) -> bool:
    """True when this run is repeated after its promotion: a model cannot be better than itself."""
    ref = _champion_ref(context)
    return ref is not None and ref.digest == candidate.digest


def _champion(context: RunContext) -> Package | None:
    ref = _champion_ref(context)
    return None if ref is None else package_of(context.project, ref)


def _champion_ref(context: RunContext) -> ModelRef | None:
    current = PromotionLog(context.lake, context.spec).current()
    return None if current is None else as_ref(current, context.spec)


def _recorded(context: RunContext, report: GateReport) -> dict[str, Any]:
    """Records the report, raises when it failed, and returns the step's result."""
    record_report(context.lake, context.spec, report, run_id=context.run_id, recorded_at=context.now)
    require_passed(report, remedy="the candidate stays unpromoted; the champion goes on")
    return {"subject": report.subject, "verdict": report.verdict.value, "checks": len(report.checks)}
