"""The step that ends a training: one registered version with its evidence, whatever the gates said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.errors import GateRefusedError, UsageError
from tallywright.lifecycle.cards import attach
from tallywright.lifecycle.handover import handed_package, handed_refit, reason_of
from tallywright.lifecycle.steps.promotion import follow_log, reports_about, verdict_about
from tallywright.observability import failpoint, log
from tallywright.records import ModelRef, Verdict, VersionVerdict
from tallywright.registry.approval.authentication import started_by, system_user
from tallywright.registry.evidence import evidence_of
from tallywright.registry.versions import CHALLENGER
from tallywright.registry.versions import register as register_package
from tallywright.registry.versions_table import TrainedBy, record_version, recorded_versions
from tallywright.spec.demands import staged_rollout
from tallywright.spec.rollout import SHADOW

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.registry.evidence import Evidence
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import ModelSpec


def register(context: RunContext) -> dict[str, Any]:
    """Registers the run's version with its evidence, whatever the gates said; the same package is one version for ever.

    Raises:
        GateRefusedError: It is registered, and may not be promoted: a gate refused it, or left it undecided and the
            spec does not let a challenger score in shadow.
    """
    package, run_id = _version_of_run(context)
    ref, evidence = _register(context, package, run_id, reason_of(context))
    _require_way_on(context, ref, evidence)
    return ref.model_dump(mode="json", exclude={"role", "effective_from"}) | {"verdict": evidence.verdict.value}


def record_evidence(context: RunContext, ref: ModelRef, package: Package) -> Evidence:
    """Records what the gates say about a version by now, beside it and in the lake.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    known = recorded_versions(context.lake, context.spec).get(ref.version)
    return _register(context, package, _run_id(known, package), "" if known is None else known.reason)[1]


def run_of(context: RunContext, ref: ModelRef, package: Package) -> str:
    """MLflow's id of the run that holds the artifacts of a version: of a copied one, another than trained it."""
    return _run_id(recorded_versions(context.lake, context.spec).get(ref.version), package)


def _run_id(known: VersionRow | None, package: Package) -> str:
    return package.meta.run_id if known is None or not known.run_id else known.run_id


def _register(context: RunContext, package: Package, run_id: str, reason: str) -> tuple[ModelRef, Evidence]:
    evidence = evidence_of(
        context.spec.name,
        package.digest,
        reports_about(context, package),
        judged=package.meta.judged,
        snapshot_json=package.meta.snapshot_json,
    )
    failpoint("evidence-gathered")
    ref = register_package(context.project, package.folder, run_id=run_id, evidence=evidence, uploaded=True)
    metrics = package.meta.evaluation.get("model", {})
    origin = TrainedBy(
        run_id,
        metrics,
        reason,
        author=started_by(),
        recorded_by=system_user(),
        code_version=package.meta.code_version,
        snapshot_json=package.meta.snapshot_json,
    )
    failpoint("version-registered")
    record_version(context.lake, context.spec, ref, evidence, recorded_at=context.now, trained_by=origin)
    failpoint("version-recorded")
    follow_log(context)
    attach(context, ref.version)
    return ref, evidence


def _version_of_run(context: RunContext) -> tuple[Package, str]:
    """The package that becomes the run's version, and MLflow's id of the run: the refit, unless a gate refused.

    Raises:
        UsageError: The run has not come so far.
    """
    judged, run_id = handed_package(context)
    if not context.spec.training.refit or verdict_about(context, judged) is VersionVerdict.REFUSED:
        return judged, run_id
    refit = handed_refit(context)
    if refit is None or refit.meta.judged != judged.digest:
        raise UsageError(
            f"run {context.run_id!r} has no refit of the package that was judged",
            expected="the step refit, or training.refit: false",
            remedy="run that step first, with the same --run-id, or use `tally train`",
        )
    return refit, run_id


def _require_way_on(context: RunContext, ref: ModelRef, evidence: Evidence) -> None:
    """Ends the run where its version goes no further, once it is registered."""
    spec = context.spec
    if evidence.verdict is VersionVerdict.PASSED:
        return
    kind = Verdict.FAIL if evidence.verdict is VersionVerdict.REFUSED else Verdict.UNDECIDED
    checks = {check.name: f"{report.gate}: {check.name}" for report in evidence.reports
              for check in report.with_verdict(kind)}  # fmt: skip
    found = (
        f"version {ref.version} of {ref.name} is {evidence.verdict.value} ({', '.join(checks.values()) or 'a gate'})"
    )
    if evidence.verdict is VersionVerdict.UNDECIDED and _scores_in_shadow(context):
        again = "" if spec.planned_shadow_days else f"; it is not judged again{_judged_again(spec)}"
        log.warning("%s: it scores in shadow, and the champion goes on%s", found, again)
        return
    raise GateRefusedError(
        f"{found}: it is registered and not promoted, and the champion goes on",
        expected="every gate passed",
        remedy=f"`tally versions {spec.name}` shows it, the table {spec.table('gates')} has its checks"
        + (_judged_again(spec) if evidence.verdict is VersionVerdict.UNDECIDED else ""),
        checks=tuple(checks),
    )


def _judged_again(spec: ModelSpec) -> str:
    """How an undecided version comes to another look; none is left where no days in shadow were planned."""
    if spec.planned_shadow_days:
        return "; to judge it again, let it score in shadow (`scoring: {shadow: [challenger]}`) and run `tally judge`"
    return (
        "; its holdout was all the evidence that was planned: for more, set gates.shadow_days and "
        "`scoring: {shadow: [challenger]}` before the next training"
    )


def _scores_in_shadow(context: RunContext) -> bool:
    """True where an undecided version scores in shadow, and is judged again."""
    rollout = staged_rollout(context.project)
    return CHALLENGER in context.spec.scoring.shadow or (rollout is not None and rollout.stages[0].stage == SHADOW)
