"""Promotion and rollback: the two checked transitions that change the champion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.errors import GateRefusedError, LeakError, NoChampionError, UsageError
from tallywright.observability import log
from tallywright.records import (
    JUDGED_AGAINST,
    JUDGED_BY,
    NO_CHAMPION,
    QUALITY,
    Decision,
    ModelRef,
    Promotion,
    Verdict,
)
from tallywright.registry.approval.approvals import require_not_rejected
from tallywright.registry.approval.authors import Approver, require_other_than_author
from tallywright.registry.evidence import required_gates
from tallywright.registry.promotion_chain import PROMOTE, ROLLBACK
from tallywright.registry.promotion_log import (
    PromotionLog,
    answer_to,
    champion_lines,
    champion_on,
    previous,
    request_of,
    same_model,
    superseded_by,
)
from tallywright.registry.withdrawal import require_own_reason
from tallywright.spec.demands import approval_sections, committed_demands, weaker

if TYPE_CHECKING:
    from datetime import date, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec, Project
    from tallywright.spec.demands import Demands
    from tallywright.spec.sections import Registry

Requirement = Callable[[Sequence[Promotion]], None]
"""Raises where the log forbids what is about to be appended to it."""
_ANSWERS: Final = (
    "approve it in Airflow, by the DAG {model}__train or {model}__promote as a user of its own; or with a key that "
    "registry.approver_keys names: tally approve {model} VERSION --reason WHY --key FILE"
)


class EvidenceRefusedError(GateRefusedError):
    """The gates' evidence about a version is missing, out of date or no pass: asking again would not help it."""

    @property
    def known_as(self) -> str:
        """A refusal like any other."""
        return GateRefusedError.__name__


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """A request to withdraw the champion: by whom, from which score date on, and why.

    Attributes:
        effective_from: The first score date of the model that is brought back.
        reason: Why; kept for ever.
        approver: Who answers for it.
        recorded_at: The wall clock of the recording.
        recorded_by: The system user who asks.
        authentication: How the approver is known; empty for a name that was typed.
        allow_later_lines: True when entries with a later effective date are known and shall stand.
        asked: The log when it was asked; as it stands when the rollback begins, when not given.
    """

    effective_from: date
    reason: str
    approver: str
    recorded_at: datetime
    recorded_by: str = ""
    authentication: str = ""
    allow_later_lines: bool = False
    asked: Sequence[Promotion] | None = None


def promote(  # noqa: PLR0913 - what, where, why and when are all the caller's to say
    project: Project,
    lake: Lake,
    decision: Decision,
    ref: ModelRef,
    *,
    effective_from: date,
    recorded_at: datetime,
    allow_later_lines: bool = False,
    demands: Demands | None = None,
    recorded_by: str = "",
    require: Requirement | None = None,
) -> Promotion:
    """Makes a candidate the champion from a score date on; the same request is answered once, for ever.

    A repeated request (the same version, date, approver and reason) changes nothing, also where its line was withdrawn
    meanwhile: a retried task must not undo a rollback. `repeated` says so in words.

    Args:
        project: Whose promotion log it is.
        lake: Where the log stands.
        decision: The gates' reports about exactly this version, and who decided.
        ref: The registered version, with the last date whose labels it has seen.
        effective_from: The first score date it is champion of.
        recorded_at: The wall clock of the recording.
        allow_later_lines: True when entries with a later effective date are known and shall stand: the candidate is
            then champion only until the next of them.
        demands: What the version has to show, as its package says; of a package of before, None: then it is what the
            files of the spec say today.
        recorded_by: The system user who asks.
        require: Raises where the log, as it stands when the entry is written, forbids it for reasons of the caller's.

    Raises:
        EvidenceRefusedError: The decision does not approve, or speaks of another champion or other bounds.
        GateRefusedError: It speaks of another version; or the spec wants a person's approval and this is none, or the
            author's; or an approver has rejected the version; or it was withdrawn or returned, and no reason is given.
        LeakError: The candidate has seen labels of the effective date or later.
        UsageError: A later entry would stand, and `allow_later_lines` is not given.
    """
    spec = project.spec
    demands = demands or committed_demands(project.committed)
    _require_approval(decision, ref, project, demands)
    if decision.authentication:
        # A key of their own is a person's process; what Airflow hands over is the deployment's.
        user = recorded_by if decision.authentication.startswith("key ") else ""
        approver = Approver(decision.approver, user)
        require_other_than_author(project, lake, demands, version=ref.version, approver=approver)
    trained_through = _require_no_leak(ref.version, ref.trained_through, effective_from)
    proposed = Promotion(
        model=spec.name,
        sequence=0,
        action=PROMOTE,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=trained_through,
        effective_from=effective_from,
        recorded_at=recorded_at,
        approver=decision.approver,
        reason=decision.reason,
        decision_json=decision.to_json(),
        authentication=decision.authentication,
        recorded_by=recorded_by,
    )

    def propose(entries: Sequence[Promotion]) -> Promotion | None:
        champion = champion_on(entries, effective_from)
        if answer_to(entries, request_of(proposed)) or (champion is not None and same_model(champion, proposed)):
            return None
        if require is not None:
            require(entries)
        if not allow_later_lines:
            _require_latest(entries, effective_from, spec)
        require_own_reason(entries, proposed)
        require_not_rejected(entries, decision, demands, project.committed.registry)
        _require_same_comparison(decision, entries, effective_from, project, demands)
        _require_unmoved(entries, asked, effective_from, spec)
        return proposed

    promotions = PromotionLog(lake, spec)
    asked = promotions.entries()
    return _written(promotions, promotions.append(propose), proposed)


def rollback(project: Project, lake: Lake, request: RollbackRequest) -> Promotion:
    """Brings back the champion before the current one, as of `request.effective_from`.

    Repeating the very same request (date, reason, approver) changes nothing, so that a retried task does not go back
    twice; going back further needs a reason of its own. What is withdrawn is the champion of the moment at which it
    was asked: one that was promoted meanwhile is not.

    Raises:
        GateRefusedError: Another line has changed the champion since the request was made.
        NoChampionError: There is no champion, or none before it, to go back to.
        LeakError: The model to bring back has seen labels of the effective date.
        UsageError: A later entry would stand, and `request.allow_later_lines` is not given; or no reason is given.
    """
    spec = project.spec
    if not request.reason.strip() or not request.approver.strip():
        raise UsageError("a rollback without a reason or an approver", expected="both, in words, for the record")

    promotions = PromotionLog(lake, spec)
    asked = promotions.entries() if request.asked is None else request.asked
    about = Promotion(
        model=spec.name,
        sequence=0,
        action=ROLLBACK,
        model_version=0,
        package_digest="",
        trained_through=request.effective_from,
        effective_from=request.effective_from,
        recorded_at=request.recorded_at,
        approver=request.approver,
        reason=request.reason,
        authentication=request.authentication,
        recorded_by=request.recorded_by,
    )

    def propose(entries: Sequence[Promotion]) -> Promotion | None:
        if answer_to(entries, request_of(about)):
            return None
        _require_unmoved(entries, asked, request.effective_from, spec)
        if not request.allow_later_lines:
            _require_latest(entries, request.effective_from, spec)
        target = _target(entries, request.effective_from, spec)
        trained_through = _require_no_leak(target.model_version, target.trained_through, request.effective_from)
        same = {"model_version": target.model_version, "package_digest": target.package_digest}
        evidence = {"trained_through": trained_through, "decision_json": target.decision_json}
        return about.model_copy(update=same | evidence)

    return _written(promotions, promotions.append(propose), about)


def repeated(lake: Lake, spec: ModelSpec, entry: Promotion) -> str:
    """Says in words that the request of an entry was answered before and no longer holds; empty while it does."""
    other = superseded_by(PromotionLog(lake, spec).entries(), entry)
    if other is None:
        return ""
    verb = "replaced" if other.action == PROMOTE else "withdrawn"
    return (
        f"this request is line {entry.sequence} and was {verb} by line {other.sequence} ({other.action}, version "
        f"{other.model_version}); nothing changed. To {entry.action} anew, give another --reason"
    )


def _written(promotions: PromotionLog, entry: Promotion | None, proposed: Promotion) -> Promotion:
    """The entry just written; else the one that answered this request before, or that of the same champion."""
    if entry is not None:
        return entry
    entries = promotions.entries()
    found = answer_to(entries, request_of(proposed)) or champion_on(entries, proposed.effective_from)
    if found is None:  # pragma: no cover - a proposal only gives None when such an entry stands
        raise NoChampionError(f"{promotions.model} has no champion on {proposed.effective_from}")
    if superseded_by(entries, found) is None:
        version, start = found.model_version, found.effective_from
        log.info("registry: version %s is champion from %s on already; nothing changed", version, start)
    return found


def _require_unmoved(entries: Sequence[Promotion], asked: Sequence[Promotion], day: date, spec: ModelSpec) -> None:
    """Refuses a request when another line has decided about the day since it was asked."""
    then, now = champion_on(asked, day), champion_on(entries, day)
    if now is None or (then is not None and then.sequence == now.sequence):
        return
    was = f"version {then.model_version} was (line {then.sequence})" if then is not None else "nobody was"
    raise GateRefusedError(
        f"{spec.name}: when this was asked, {was} champion on {day}; meanwhile line {now.sequence} made version "
        f"{now.model_version} champion",
        expected="a log that has not moved since",
        remedy=f"look at `tally history {spec.name}`, and ask again if it is still wanted",
    )


def _require_approval(decision: Decision, ref: ModelRef, project: Project, demands: Demands) -> None:
    spec = project.spec
    about = (decision.model, decision.candidate_version, decision.candidate_digest)
    if about != (spec.name, ref.version, ref.digest):
        raise GateRefusedError(
            f"the decision is about {about[0]} version {about[1]} ({about[2][:12]}), "
            f"not {spec.name} version {ref.version} ({ref.digest[:12]})",
            expected="a decision about the very version that is promoted",
            remedy="run the gates on this version",
        )
    _require_approver(decision, project, demands.registry)
    _require_evidence(decision, spec)
    if decision.approved:
        return
    blocking = (Verdict.FAIL, Verdict.UNDECIDED)
    found = [
        f"{report.gate} {report.verdict.value}: "
        + (
            ", ".join(check.name for kind in blocking for check in report.with_verdict(kind))
            or "no checks, no evidence"
        )
        for report in decision.reports
        if report.verdict in blocking
    ]
    raise EvidenceRefusedError(
        f"version {ref.version} of {spec.registered_name} did not pass: {'; '.join(found) or 'no gate reported'}",
        expected="a report of every gate, each of them passed",
        remedy=f"look into the table {spec.table('gates')} (`tally query`), then train a better candidate",
    )


def _require_approver(decision: Decision, project: Project, demanded: Registry) -> None:
    """Refuses a decision without an approver; where a person has to approve, one who is not known to be one."""
    spec = project.spec
    asking = [section for section in approval_sections(project, demanded) if section.approval == "person"]
    person, named = bool(asking), next((section.approvers for section in asking if section.approvers), ())
    expected = "a named approver, a person or a policy"
    if person:
        expected = f"a person's approval{', of one of ' + ', '.join(named) if named else ''} (registry.approvers)"
    if not decision.approver.strip():
        remedy = "say who approves: --by WHO" if not person else _ANSWERS.format(model=spec.name)
        raise GateRefusedError("nobody answers for the decision", expected=expected, remedy=remedy)
    if person and not decision.authentication:
        raise GateRefusedError(
            f"nobody knows that {decision.approver!r} approves: the name was typed, or the run has no user",
            expected=expected,
            remedy=_ANSWERS.format(model=spec.name),
        )
    if person and named and decision.approver not in named:
        raise GateRefusedError(
            f"{decision.approver!r} may not approve a version of {spec.registered_name}",
            expected=expected,
            remedy="let one of them approve it, or train a version under a spec that names others",
        )


def _require_same_comparison(
    decision: Decision, entries: Sequence[Promotion], effective_from: date, project: Project, demands: Demands
) -> None:
    """Refuses a quality report about another champion than the one to be replaced, or by other bounds than demanded.

    Demanded are the gates of the version's own spec, and those of today's where they ask for more.
    """
    spec, version = project.spec, decision.candidate_version
    champion = champion_on(entries, effective_from)
    digest = name = NO_CHAMPION
    if champion is not None:
        digest, name = champion.package_digest, f"version {champion.model_version}"
    report = next(report for report in decision.reports if report.gate == QUALITY)
    against, by = report.observed(JUDGED_AGAINST), report.observed(JUDGED_BY)
    more = ", ".join(sorted({*weaker(demands.gates, spec.gates), *weaker(demands.gates, project.committed.gates)}))
    compared = (
        (JUDGED_AGAINST, against, against == digest, f"that of {effective_from} ({name})"),
        (JUDGED_BY, by, demands.gates.identity().matches(str(by or "")), "the spec's section gates"),
        (JUDGED_BY, by, not more, f"the spec's section gates of today, which asks for more ({more})"),
    )
    different = [
        f"it was {check.replace('_', ' ')} {str(observed or 'nothing')[:16]}, which is not {what}"
        for check, observed, same, what in compared
        if not same
    ]
    if not different:
        return
    whom = name if champion else "no champion, by their floors alone"
    train = f"tally train {spec.name} --date D --effective-from {effective_from}"
    ways = [f"train again, `{train}`: the gates then judge against {whom}"]
    if all(same for check, _, same, _ in compared if check == JUDGED_BY):
        judge = f"tally judge {spec.name} --version {version} --date {effective_from}"
        ways.insert(0, f"let the gates look at this version again, `{judge}`, against {whom}")
    if previous(entries, effective_from) is not None:
        ways.append(f"go back with `tally rollback {spec.name} --effective-from {effective_from}`")
    raise EvidenceRefusedError(
        f"the evidence about version {version} is out of date: {'; '.join(different)}",
        expected="a quality report against the champion that would be replaced, by the bounds of this spec",
        remedy="; or ".join(ways),
    )


def _require_evidence(decision: Decision, spec: ModelSpec) -> None:
    """Refuses a decision unless every required gate has reported, and every report is about this very package."""
    required = required_gates(refitted=bool(decision.judged_digest))
    others = [
        f"{report.gate} about {report.model} {report.subject[:12]}"
        for report in decision.reports
        if (report.model, report.subject) != (spec.name, _subject_of(report.gate, decision))
    ]
    missing = sorted(required - {report.gate for report in decision.reports})
    if not others and not missing:
        return
    raise EvidenceRefusedError(
        f"the evidence about version {decision.candidate_version} is not in order: "
        f"missing reports: {', '.join(missing) or 'none'}; about something else: {', '.join(others) or 'none'}",
        expected=f"reports of {', '.join(sorted(required))} with the package's digest as subject",
        remedy="run the gates on this version",
    )


def _subject_of(gate: str, decision: Decision) -> str:
    """The package that a gate must have looked at: the judged one on the holdout, all else the one that serves."""
    return decision.judged_digest or decision.candidate_digest if gate == QUALITY else decision.candidate_digest


def _require_no_leak(version: int, trained_through: date | None, effective_from: date) -> date:
    if trained_through is not None and trained_through < effective_from:
        return trained_through
    seen = f"has seen labels through {trained_through}" if trained_through else "does not say which labels it has seen"
    raise LeakError(
        f"version {version} {seen}, so it cannot be champion from {effective_from} on",
        expected=f"an effective date after {trained_through}" if trained_through else "a package with trained_through",
        remedy="promote with a later effective date, or train as of an earlier one",
    )


def _require_latest(entries: Sequence[Promotion], effective_from: date, spec: ModelSpec) -> None:
    later = [entry for entry in champion_lines(entries) if entry.effective_from > effective_from]
    if not later:
        return
    nearest = min(later, key=lambda entry: entry.effective_from)
    last = max(entry.effective_from for entry in later)
    stand = "say explicitly that the later entries shall stand: --allow-later-lines of `tally promote` and `rollback`"
    reached = spec.schedule.covers(last)
    raise UsageError(
        f"{spec.name}: version {nearest.model_version} is already recorded as champion from "
        f"{nearest.effective_from} on, after the effective date {effective_from}",
        expected=f"an effective date from {last} on" if reached else "no entry after the schedule's end",
        remedy=f"choose that, or {stand}" if reached else stand,
    )


def _target(entries: Sequence[Promotion], day: date, spec: ModelSpec) -> Promotion:
    champion, target = champion_on(entries, day), previous(entries, day)
    if target is not None:
        return target
    found = f"version {champion.model_version} is the first" if champion else "there is no champion"
    raise NoChampionError(
        f"{spec.name} cannot be rolled back as of {day}: {found}, nothing stands before it",
        expected="at least two champions that were not withdrawn",
        remedy=f"`tally history {spec.name}` shows them; train and promote a new version instead",
    )
