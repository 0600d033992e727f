"""The registry steps: register a candidate, promote a version, roll a champion back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError
from tallywright.gates.record import reports
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.handover import handed_digest, handed_package, reason_of
from tallywright.observability import log
from tallywright.records import Decision, GateReport, ModelRef, Promotion
from tallywright.registry import transitions
from tallywright.registry.approval import Request, authentication, handed_over, sign, system_user
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions import find, find_digest, project_aliases
from tallywright.registry.versions import register as register_package
from tallywright.registry.versions_table import TrainedBy, record_version, recorded_versions
from tallywright.registry.withdrawal import DEFAULT_REASON, WithdrawRequest
from tallywright.registry.withdrawal import withdraw as withdraw_version
from tallywright.spec.demands import committed_demands

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec
    from tallywright.spec.demands import Demands


_PROJECTIONS: Final = 5
"""How often the aliases are set again because another line was written meanwhile."""


def register(context: RunContext) -> dict[str, Any]:
    """Registers the run's package with its evidence; the same package is never registered twice."""
    package, run_id = handed_package(context)
    evidence = _reports_of(context, package.digest)
    ref = register_package(context.project, package.folder, run_id=run_id, reports=evidence)
    origin = TrainedBy(run_id, package.meta.evaluation.get("model", {}), reason_of(context))
    record_version(context.lake, context.spec, ref, evidence, recorded_at=context.now, trained_by=origin)
    return ref.model_dump(mode="json", exclude={"role", "effective_from"})


def promote(context: RunContext) -> dict[str, Any]:
    """Makes the run's version (or the one asked for) champion from the effective date on."""
    ref, package = _verified(context, _candidate_ref(context))
    demands = package.demands or committed_demands(context.project.committed)
    decision = Decision(
        model=context.spec.name,
        candidate_version=ref.version,
        candidate_digest=ref.digest,
        reports=_reports_of(context, ref.digest),
        approver=context.options.by.strip() or _policy(context.spec),
        reason=context.options.reason or DEFAULT_REASON,
        authentication=_authentication(context, demands),
    )
    promotion = transitions.promote(
        context.project,
        context.lake,
        decision,
        ref,
        effective_from=context.options.effective_from or context.day,
        recorded_at=context.now,
        allow_later_lines=context.options.allow_later_lines,
        demands=demands,
        recorded_by=system_user(),
    )
    return _mirrored(context, promotion)


def _verified(context: RunContext, ref: ModelRef) -> tuple[ModelRef, Package]:
    """The version by its verified package and our own record of it; what a tag says otherwise is said, not believed.

    Raises:
        PackageError: What the registry holds is not what was registered.
        TrackingError: MLflow is away, and the package not at hand.
    """
    recorded = recorded_versions(context.lake, context.spec).get(ref.version)
    digest = ref.digest if recorded is None else recorded.package_digest
    package = package_of(context.project, ref.model_copy(update={"digest": digest}))
    true = ref.model_copy(update={"digest": digest, "trained_through": package.meta.trained_through})
    for name in ("digest", "trained_through"):
        told, found = getattr(ref, name), getattr(true, name)
        if told != found:
            log.warning("the tag of version %s says %s %s; it is %s", ref.version, name, told, found)
    return true, package


def _authentication(context: RunContext, demands: Demands) -> str:
    """How the approver is known; empty where the name is what somebody typed.

    Raises:
        GateRefusedError: An answer or a signature is there, and is not about this promotion, or not by the key.
        UsageError: The key's file cannot be used.
    """
    options, registry = context.options, demands.registry
    request = Request(
        model=context.spec.name,
        run_id="" if options.key else context.run_id,
        version=options.version,
        effective_from=str(options.effective_from or context.day),
        by=options.by.strip(),
        reason=options.reason,
    )
    return authentication(
        request,
        registry.approver_keys or context.project.committed.registry.approver_keys,
        signature=sign(request, options.key) if options.key else "",
        handed=handed_over(),
    )


def rollback(context: RunContext) -> dict[str, Any]:
    """Makes the previous champion the champion again, from the effective date on, and says why."""
    options = context.options
    request = transitions.RollbackRequest(
        effective_from=options.effective_from or context.day,
        reason=options.reason,
        approver=options.by,
        recorded_at=context.now,
        recorded_by=system_user(),
        allow_later_lines=options.allow_later_lines,
    )
    return _mirrored(context, transitions.rollback(context.project, context.lake, request))


def withdraw(context: RunContext) -> dict[str, Any]:
    """Takes a version out of production for good; what it has scored stands."""
    options = context.options
    if options.version is None:
        raise UsageError("no version was named", expected="--version N")
    done = withdraw_version(
        context.lake,
        context.spec,
        WithdrawRequest(
            options.version, options.reason, options.by, recorded_at=context.now, recorded_by=system_user()
        ),
    )
    champion = done.champion
    now = {"withdrawn": done.written, "champion": None if champion is None else champion.model_version}
    return _mirrored(context, done.entry) | now


def _policy(spec: ModelSpec) -> str:
    """The approver when none is named: the policy; empty where a person has to approve."""
    return f"policy of {spec.name}" if spec.registry.approval == "policy" else ""


def _mirrored(context: RunContext, promotion: Promotion) -> dict[str, Any]:
    """Updates MLflow's aliases from the promotion log, and returns the promotion as the step's result.

    `note` says when the request was answered before, and what stands now.
    """
    promotions = PromotionLog(context.lake, context.spec)
    for _ in range(_PROJECTIONS):
        known = len(promotions.entries())
        for repair in project_aliases(context.project, promotions):
            log.info("registry: %s", repair)
        if len(promotions.entries()) == known:
            break
    note = transitions.repeated(context.lake, context.spec, promotion)
    if note:
        log.warning("%s: %s", context.spec.name, note)
    return promotion.model_dump(mode="json", exclude={"decision_json"}) | ({"note": note} if note else {})


def _reports_of(context: RunContext, digest: str) -> tuple[GateReport, ...]:
    """The newest report of each gate about a candidate; the transition refuses when one is missing."""
    newest = {report.gate: report for report in reports(context.lake, context.spec, subject=digest)}
    return tuple(newest[gate] for gate in sorted(newest))


def _candidate_ref(context: RunContext) -> ModelRef:
    if context.options.version is not None:
        return find(context.project, context.options.version)
    digest = handed_digest(context)
    ref = None if digest is None else find_digest(context.project, digest)
    if ref is None:
        raise UsageError(
            "this run registered no version, and none was named",
            remedy="name one with --version N, or run the train pipeline",
        )
    return ref
