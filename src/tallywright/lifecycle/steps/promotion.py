"""The registry steps: promote a version, roll a champion back, approve, reject and withdraw."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import GateRefusedError, UsageError
from tallywright.gates.record import reports_of_version
from tallywright.lifecycle.cards import follow_entry
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.handover import handed_digests
from tallywright.observability import log
from tallywright.records import NO_CHAMPION, Decision, GateReport, ModelRef, Promotion, VersionVerdict
from tallywright.registry import transitions
from tallywright.registry.approval.answers import AnswerRequest, keys_of, record_answer
from tallywright.registry.approval.approvals import with_approval
from tallywright.registry.approval.authentication import (
    Request,
    authentication,
    handed_over,
    name_of_key,
    sign,
    system_user,
)
from tallywright.registry.approval.authors import author_may_approve
from tallywright.registry.approval.form import Question, version_links
from tallywright.registry.approval.tags import tag_answer
from tallywright.registry.evidence import verdict_of
from tallywright.registry.numbers import arrived, log_for_aliases, require_source
from tallywright.registry.promotion_chain import PROMOTE
from tallywright.registry.promotion_log import APPROVE, REJECT, PromotionLog, champion_on
from tallywright.registry.versions import find, find_digest, project_aliases
from tallywright.registry.versions_table import recorded_versions
from tallywright.registry.withdrawal import DEFAULT_REASON, WithdrawRequest
from tallywright.registry.withdrawal import withdraw as withdraw_version
from tallywright.spec.demands import committed_demands, staged_rollout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec
    from tallywright.spec.demands import Demands


_PROJECTIONS: Final = 5
"""How often the aliases are set again because another line was written meanwhile."""
_NOT_TOLD: Final = {"decision_json", "answer_json", "stage_json"}
"""Fields of an entry that a step's result leaves out."""


def promote(context: RunContext, require: transitions.Requirement | None = None) -> dict[str, Any]:
    """Makes the run's version (or the one asked for) champion from the effective date on.

    Args:
        context: Of the run.
        require: What the log has to fulfil when the entry is written; without it, what a promotion by hand needs.
    """
    ref, package = verified(context, _candidate_ref(context))
    reports = reports_about(context, package)
    verdict = verdict_of(reports, refitted=bool(package.meta.judged))
    if context.options.version is None and verdict is VersionVerdict.UNDECIDED:
        return {"action": "none", "version": ref.version, "why": f"version {ref.version} is undecided"}
    # A version that comes from training, over there or in this run; a person who names one of this registry means it.
    from_training = context.options.version is None or bool(context.options.source)
    if from_training and staged_rollout(context.project) is not None:
        why = _why_not_at_once(context, ref.version)
        if why:
            return {"action": "none", "version": ref.version, "why": why}
    demands = demands_on(context, package)
    decision = Decision(
        model=context.spec.name,
        candidate_version=ref.version,
        candidate_digest=ref.digest,
        judged_digest=package.meta.judged,
        reports=reports,
        approver=context.options.by.strip() or policy(context.spec),
        reason=context.options.reason or DEFAULT_REASON,
        authentication=_authentication(context, demands),
    )
    day = context.effective_from
    decision = with_approval(context.project, context.lake, decision, day, demands)
    promotion = transitions.promote(
        context.project,
        context.lake,
        decision,
        ref,
        effective_from=day,
        recorded_at=context.now,
        allow_later_lines=context.options.allow_later_lines,
        demands=demands,
        recorded_by=system_user(),
        require=require or partial(_require_person, context),
    )
    told = _mirrored(context, promotion)
    if promotion.authentication:
        tag_answer(context.project, promotion)
    return told


def _require_person(context: RunContext, entries: Sequence[Promotion]) -> None:
    """Refuses to promote past the stages of a rollout where nobody is named who answers for that."""
    champion = champion_on(entries, context.effective_from)
    if staged_rollout(context.project) is None or champion is None or context.options.by.strip():
        return
    raise GateRefusedError(
        f"{context.spec.name} has a rollout in stages, and nobody is named who answers for going past it",
        expected="a named person; without one, a version becomes champion at the end of its stages (advance)",
        remedy="name who decides with --by, and say why with --reason",
    )


def _why_not_at_once(context: RunContext, version: int) -> str:
    """Why the version of a training is not promoted where versions go through stages; empty for the first champion."""
    if PromotionLog(context.lake, context.spec).champion_on(context.effective_from) is not None:
        return f"version {version} begins with the first stage of its rollout (advance)"
    if context.options.by.strip() or policy(context.spec):
        return ""
    return f"a person approves of the first champion: tally approve {context.spec.name} {version}, then tally promote"


def approve(context: RunContext) -> dict[str, Any]:
    """Records that an approver approves of a version; somebody else may promote it then."""
    return _answered(context, APPROVE)


def reject(context: RunContext) -> dict[str, Any]:
    """Records that an approver rejects a version: it is not promoted until an approver approves of it."""
    return _answered(context, REJECT)


def _answered(context: RunContext, answer: str) -> dict[str, Any]:
    ref, package = verified(context, _candidate_ref(context))
    demands, options = demands_on(context, package), context.options
    keys = keys_of(demands.registry, context.project.committed.registry)
    entry, written = record_answer(
        context.project,
        context.lake,
        demands,
        AnswerRequest(
            ref=ref,
            reports=reports_for(context, package, options.effective_from),
            answer=answer,
            by=name_of_key(options.key, keys) if options.key else options.by.strip(),
            reason=options.reason,
            recorded_at=context.now,
            recorded_by=system_user(),
            key=options.key,
            authentication="" if options.key else _authentication(context, demands, answer=answer),
            effective_from=options.effective_from,
        ),
    )
    tag_answer(context.project, entry)
    follow_entry(context, entry)
    return entry.model_dump(mode="json", exclude=_NOT_TOLD) | {"written": written}


def approval_form(context: RunContext) -> dict[str, Any]:
    """What a person who approves or rejects the run's version is shown: the version, and its checks, as Markdown."""
    ref, package = verified(context, _candidate_ref(context))
    row = recorded_versions(context.lake, context.spec).get(ref.version)
    day = context.effective_from
    question = Question(
        ref=ref,
        reports=reports_about(context, package),
        champion=PromotionLog(context.lake, context.spec).champion_on(day),
        effective_from=day,
        author=row.author if row else "",
        author_may_approve=author_may_approve(context.project, demands_on(context, package)),
        run_id=row.run_id if row else "",
        links=version_links(context.project, ref.version, row.run_id if row else ""),
    )
    return {"version": ref.version, "digest": ref.digest, "body": question.as_markdown()}


def verified(context: RunContext, ref: ModelRef) -> tuple[ModelRef, Package]:
    """The version by its verified package and our own record of it; what a tag says otherwise is said, not believed.

    Raises:
        PackageError: What the registry holds is not what was registered.
        TrackingError: MLflow is away, and the package not at hand.
        UsageError: It comes from another registry, and not all of it is here.
    """
    recorded = recorded_versions(context.lake, context.spec).get(ref.version)
    if recorded is None and context.training is not context:
        raise UsageError(
            f"version {ref.version} of {ref.name} is not recorded here: it has not arrived whole",
            expected="a version that was copied with its evidence",
            remedy=f"tally run {context.spec.name} arrive --version N --from "
            f"{context.project.environment.trained_in} --date {context.day}, N being its number there",
        )
    digest = ref.digest if recorded is None else recorded.package_digest
    package = package_of(context.project, ref.model_copy(update={"digest": digest}))
    true = ref.model_copy(update={"digest": digest, "trained_through": package.meta.trained_through})
    for name in ("digest", "trained_through"):
        told, found = getattr(ref, name), getattr(true, name)
        if told != found:
            log.warning("the tag of version %s says %s %s; it is %s", ref.version, name, told, found)
    return true, package


def _authentication(context: RunContext, demands: Demands, answer: str = PROMOTE) -> str:
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
        effective_from=str(context.effective_from) if answer == PROMOTE else "",
        by=options.by.strip(),
        reason=options.reason,
        answer=answer,
    )
    return authentication(
        request,
        keys_of(registry, context.project.committed.registry),
        signature=sign(request, options.key) if options.key else "",
        handed=handed_over(),
    )


def rollback(context: RunContext) -> dict[str, Any]:
    """Makes the previous champion the champion again, from the effective date on, and says why."""
    options = context.options
    request = transitions.RollbackRequest(
        effective_from=context.effective_from,
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


def policy(spec: ModelSpec) -> str:
    """The approver when none is named: the policy; empty where a person has to approve."""
    return f"policy of {spec.name}" if spec.registry.approval == "policy" else ""


def _mirrored(context: RunContext, promotion: Promotion) -> dict[str, Any]:
    """Updates MLflow's aliases from the promotion log, and returns the promotion as the step's result.

    `note` says when the request was answered before, and what stands now.
    """
    follow_log(context)
    follow_entry(context, promotion)
    note = transitions.repeated(context.lake, context.spec, promotion)
    if note:
        log.warning("%s: %s", context.spec.name, note)
    return promotion.model_dump(mode="json", exclude=_NOT_TOLD) | ({"note": note} if note else {})


def reports_about(context: RunContext, package: Package) -> tuple[GateReport, ...]:
    """The report of each gate about a version that a promotion of this run rests on: see `reports_for`."""
    return reports_for(context, package, context.effective_from)


def reports_for(context: RunContext, package: Package, day: date | None) -> tuple[GateReport, ...]:
    """The newest report of each gate about a version, by its package; the transition refuses when one is missing.

    Args:
        context: Of the run.
        package: The version's.
        day: The first date of a promotion, None for the latest of all: the quality report about the champion of that
            date comes before newer ones about others, so that another comparison takes nothing back.
    """
    champion = champion_on(PromotionLog(context.production.lake, context.spec).entries(), day)
    against = NO_CHAMPION if champion is None else champion.package_digest
    found = reports_of_version(context.lake, context.spec, package.digest, against)
    return tuple(found[gate] for gate in sorted(found))


def verdict_about(context: RunContext, package: Package) -> VersionVerdict:
    """What the gates say by now about a version, or about the package that a refit is made of, by its package."""
    return verdict_of(reports_about(context, package), refitted=bool(package.meta.judged))


def demands_on(context: RunContext, package: Package) -> Demands:
    """What a version has to show: as its package says, else as today's files do."""
    return package.demands or committed_demands(context.project.committed)


def follow_log(context: RunContext) -> None:
    """Sets MLflow's aliases from our own log and table, again where another line is written meanwhile."""
    promotions = log_for_aliases(context.project, context.lake)
    for _ in range(_PROJECTIONS):
        known = len(promotions.entries())
        for repair in project_aliases(context.project, promotions):
            log.info("registry: %s", repair)
        if len(promotions.entries()) == known:
            break


def asked_ref(context: RunContext) -> ModelRef:
    """The version that was named, by the number of this registry or of the one that `--from` names.

    Raises:
        UsageError: None was named, or there is no such one here.
        IntegrityError: By the number of the other registry another one came before.
    """
    version, source = context.options.version, context.options.source
    if version is None:
        raise UsageError("no version was named", expected="--version N")
    if not source:
        return find(context.project, version)
    require_source(context.project, source)
    row = arrived(context.lake, context.training.lake, context.spec, source, version)
    if row is None:
        raise UsageError(
            f"version {version} of {source} has not arrived in {context.project.environment.name}",
            expected="a version that was copied with its evidence",
            remedy=f"tally run {context.spec.name} arrive --version {version} --from {source} --date {context.day}",
        )
    return row.as_ref(context.spec)


def _candidate_ref(context: RunContext) -> ModelRef:
    if context.options.version is not None:
        return asked_ref(context)
    found = (find_digest(context.project, digest) for digest in handed_digests(context))
    ref = next((ref for ref in found if ref is not None), None)
    if ref is None:
        raise UsageError(
            "this run registered no version, and none was named",
            remedy="name one with --version N, or run the train pipeline",
        )
    return ref
