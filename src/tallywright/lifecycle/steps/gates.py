"""The gate steps of the train pipeline: each records its report; what follows from it is decided at registration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.snapshot import Snapshot, read_split
from tallywright.gates.evidence.level import Spent
from tallywright.gates.evidence.tries import spent_before
from tallywright.gates.operations.gate import Incumbent
from tallywright.gates.operations.gate import operations_gate as run_operations_gate
from tallywright.gates.quality.gate import Sample
from tallywright.gates.quality.gate import quality_gate as run_quality_gate
from tallywright.gates.quality.leaks import is_champion
from tallywright.gates.record import record_report
from tallywright.gates.refit import refit_gate as run_refit_gate
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.handover import handed_package
from tallywright.lifecycle.rehearsal import rehearse_rollback
from tallywright.observability import log
from tallywright.records import Verdict
from tallywright.registry.promotion_log import PromotionLog, withdrawals
from tallywright.registry.resolve import as_ref

if TYPE_CHECKING:
    import pyarrow as pa

    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.records import GateReport, ModelRef


def quality_gate(context: RunContext) -> dict[str, Any]:
    """Compares the candidate with its metric bounds and with the champion, on the held-out rows of its snapshot."""
    candidate, _ = handed_package(context)
    champion = champion_of(context)
    if _is_champion(candidate, champion):
        return {"subject": candidate.digest, "note": "already the champion; its reports stand"}
    judged = Sample(candidate, holdout_of(context, candidate))
    spent = spent_on(context, candidate, champion)
    report = run_quality_gate(context.project, [judged], champion, as_of=context.day, spent=spent)
    return recorded(context, report)


def spent_on(context: RunContext, candidate: Package, champion: Package | None) -> Spent:
    """What was spent of the year's level before this run looks at a candidate."""
    if champion is None:
        return Spent()
    lakes = dict.fromkeys((context.training.lake, context.production.lake))
    return spent_before(tuple(lakes), context.spec, candidate.digest, champion.digest, context.run_id)


def operations_gate(context: RunContext) -> dict[str, Any]:
    """Runs the checklist of a deployment on the package, a rollback of it and what would stand in for it."""
    candidate, _ = handed_package(context)
    if _is_champion(candidate, champion_of(context)):
        return {"subject": candidate.digest, "note": "already the champion; its reports stand"}
    return recorded(context, _operations(context, candidate))


def judge_refit(context: RunContext, judged: Package, refit: Package) -> dict[str, str]:
    """Runs and records the gates of a refit, and returns their verdicts by gate.

    Args:
        context: Of the run.
        judged: The package that the quality gate has judged.
        refit: The same recipe, fitted on all rows.
    """
    holdout = holdout_of(context, judged)
    reports = (
        run_refit_gate(context.project, judged=judged, refit=refit, holdout=holdout),
        _operations(context, refit),
    )
    return {report.gate: recorded(context, report)["verdict"] for report in reports}


def _operations(context: RunContext, candidate: Package) -> GateReport:
    withdrawn = sorted(withdrawals(PromotionLog(context.production.lake, context.spec).entries()))
    champion = _incumbent(context, candidate)
    return run_operations_gate(context.project, candidate, champion=champion, withdrawn=withdrawn)


def _incumbent(context: RunContext, candidate: Package) -> Incumbent | None:
    """The champion with its package, and how a rollback to it went in a scratch registry."""
    ref = _champion_ref(context)
    if ref is None:
        return None
    rehearsal = rehearse_rollback(context.project, candidate, ref, now=context.now)
    return Incumbent(ref, package_of(context.production.project, ref), rehearsal)


def holdout_of(context: RunContext, candidate: Package) -> pa.Table:
    """The labelled rows of a candidate's holdout."""
    snapshot = Snapshot.from_json(candidate.meta.snapshot_json)
    return read_split(context.project, context.production.lake, snapshot, "holdout")


def _is_champion(candidate: Package, champion: Package | None) -> bool:
    """True when this run is repeated after its promotion: a model cannot be better than itself."""
    return champion is not None and is_champion(candidate, champion)


def champion_of(context: RunContext) -> Package | None:
    """The package that a promotion of this run would replace, verified; None where nobody is champion then."""
    ref = _champion_ref(context)
    return None if ref is None else package_of(context.production.project, ref)


def _champion_ref(context: RunContext) -> ModelRef | None:
    # Promotions ask for evidence about the champion of their first date, so that is whom a candidate is held against.
    champion = PromotionLog(context.production.lake, context.spec).champion_on(context.effective_from)
    return None if champion is None else as_ref(champion, context.spec)


def recorded(context: RunContext, report: GateReport) -> dict[str, Any]:
    """Records a report and returns the step's result, which names what did not pass."""
    record_report(context.lake, context.spec, report, run_id=context.run_id, recorded_at=context.now)
    result: dict[str, Any] = {
        "subject": report.subject,
        "verdict": report.verdict.value,
        "checks": len(report.checks),
    }
    for name, kind in (("failed", Verdict.FAIL), ("undecided", Verdict.UNDECIDED), ("warned", Verdict.WARN)):
        named = [check.name for check in report.with_verdict(kind)]
        if named:
            result[name] = ", ".join(named)
    if report.verdict in {Verdict.FAIL, Verdict.UNDECIDED}:
        log.warning("the gate %s: %s", report.gate, report.verdict.value)
    return result
