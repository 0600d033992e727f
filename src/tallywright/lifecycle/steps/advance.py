"""The step that leads a challenger through the stages of its rollout: it begins, goes on, becomes champion, or returns.

It looks once a day at the days that are known by then, and what it decides holds from the next date on. Repeated for
the same date it finds what it has written, and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import GateRefusedError, LeakError, UsageError
from tallywright.gates.record import reports_of_version
from tallywright.lifecycle.cards import follow_entry
from tallywright.lifecycle.rollout.candidates import next_candidate, taken_back
from tallywright.lifecycle.rollout.days import days_of_stage
from tallywright.lifecycle.rollout.entries import Because, Subject, return_entry, stage_entry, terms_for
from tallywright.lifecycle.rollout.verdict import Next, StageVerdict, judge_stage
from tallywright.lifecycle.steps.approved import approval_of
from tallywright.lifecycle.steps.judge import judge
from tallywright.lifecycle.steps.promotion import follow_log, promote
from tallywright.observability import failpoint, log
from tallywright.records import Role, VersionVerdict
from tallywright.registry.promotion_log import RETURN, PromotionLog, champion_lines, champion_on
from tallywright.registry.stages import record_step, stage_on, terms_of, tried
from tallywright.registry.transitions import EvidenceRefusedError
from tallywright.registry.versions_table import recorded_versions
from tallywright.score_period import date_of
from tallywright.scoring.commit.manifests import scored_dates
from tallywright.spec.demands import staged_rollout
from tallywright.spec.rollout import CANARY, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.records import Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import Project
    from tallywright.spec.rollout import Rollout


_WAITS: Final = "waits"
"""The action of a version for which a person has to approve first."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a run of the step looks at: the rules, the log as it stands, the champion, and from when on it decides."""

    context: RunContext
    rollout: Rollout
    entries: Sequence[Promotion]
    champion: Promotion
    effective_from: date


def advance(context: RunContext) -> dict[str, Any]:
    """Begins, continues or ends the trial of a challenger; what it decides holds from the date after the run's.

    Raises:
        UsageError: The spec has no rollout in stages.
    """
    rollout = _require_rollout(context.project)
    if other := _decides_nothing(context):
        return _nothing(other)
    entries = PromotionLog(context.lake, context.spec).entries()
    effective_from = date_of(context.day) + timedelta(days=1)
    champion = champion_on(entries, effective_from)
    if champion is None:
        return _nothing("there is no champion yet: the first version that passes its gates is promoted at once")
    look = _Look(context, rollout, entries, champion, effective_from)
    candidate, why = next_candidate(
        rollout, recorded_versions(context.lake, context.spec), entries, champion, effective_from
    )
    stage = stage_on(entries, effective_from)  # a champion of later dates has not ended it yet
    if candidate is not None:
        begun = _begin(look, candidate, stage)
        if stage is None or begun["action"] != _WAITS:
            return begun
    if stage is None:
        if champion.effective_from == effective_from:
            follow_log(context)  # a run before this one may have ended between the log and the aliases
        return _nothing(why)
    if stage.effective_from >= effective_from:
        return _nothing(f"{terms_of(stage).named} of version {stage.model_version} begins on {stage.effective_from}")
    return _continue(look, stage)


def _require_rollout(project: Project) -> Rollout:
    rollout = staged_rollout(project)
    if rollout is None:
        raise UsageError(
            f"{project.spec.name} has no rollout in stages: a version that passes its gates is promoted at once",
            expected="the section `rollout` in model.yaml, with `stages`",
            remedy=f"promote one with `tally promote {project.spec.name}`, or write the section",
        )
    return rollout


def _newest(context: RunContext) -> date | None:
    """The newest date that was scored; None where none was."""
    return max((date_of(day) for day in scored_dates(context.lake, context.spec)), default=None)


def _decides_nothing(context: RunContext) -> str:
    """Why the run's date decides nothing; empty for the newest scored date, unless the schedule ends with it."""
    newest, day, schedule = _newest(context), date_of(context.day), context.spec.schedule
    if newest == day and not schedule.covers(day + timedelta(days=1)):
        return f"the schedule ends on {schedule.end_date}: nothing holds from the date after it on"
    if newest is not None and newest > day:
        return f"{newest} was scored already: only the newest date decides"
    return "" if newest == day else f"{day} was not scored: only the newest scored date decides"


def _nothing(why: str) -> dict[str, Any]:
    return {"action": "none", "why": why}


def _begin(look: _Look, row: VersionRow, standing: Promotion | None) -> dict[str, Any]:
    """The first stage of a version that has not been tried, in the place of the one that is."""
    context, spec = look.context, look.context.spec
    assert row.trained_through is not None  # noqa: S101 - a candidate says so
    subject = Subject(row.model_version, row.package_digest, row.trained_through)
    terms = terms_for(context.project.committed, look.rollout, 1, look.champion.model_version)
    reports = reports_of_version(context.lake, spec, row.package_digest, look.champion.package_digest)
    because = Because(
        f"{terms.named}: the newest version, {row.verdict or VersionVerdict.PASSED}",
        tuple(reports[gate] for gate in sorted(reports)),
    )
    if standing is not None:
        because = replace(because, reason=f"{because.reason}, in the place of version {standing.model_version}")
    if terms.role is Role.CANARY and CANARY in look.rollout.approval:
        approval = approval_of(context, row.model_version, look.effective_from)
        if approval.waits:
            return _waits(row.model_version, approval.waits)
        because = replace(because, approver=approval.approver, authentication=approval.authentication)
    entry = stage_entry(spec, subject, terms, because, effective_from=look.effective_from, now=context.now)
    return _recorded(look, entry, standing)


def _continue(look: _Look, stage: Promotion) -> dict[str, Any]:
    """What follows from the stage that is in force."""
    spec = look.context.project.committed  # no `--set` changes how a stage ends
    verdict = judge_stage(spec, stage, days_of_stage(look.context.lake, spec, stage, look.context.day))
    if verdict.what is Next.GOES_ON:
        verdict = _judged_again(look, stage, verdict)
    if verdict.what is Next.STAYS:
        log.info("%s: version %d stays: %s", look.context.spec.name, stage.model_version, verdict.why)
        return {"action": "stays", "version": stage.model_version, "why": verdict.why}
    if verdict.what is Next.RETURNS:
        return _return(look, stage, verdict)
    terms, now = terms_of(stage), len(look.rollout.stages)
    if terms.number == terms.of:
        return _promote(look, stage, verdict)
    if now != terms.of:
        why = f"{verdict.why}; the rollout had {terms.of} stages when this one began, and has {now} now"
        return _return(look, stage, replace(verdict, why=why))
    return _next_stage(look, stage, verdict, terms.number + 1)


def _judged_again(look: _Look, stage: Promotion, verdict: StageVerdict) -> StageVerdict:
    """The verdict of an undecided version whose days in shadow are over: its gates look again, and have to pass."""
    row = recorded_versions(look.context.lake, look.context.spec).get(stage.model_version)
    if row is None or row.gates_passed:
        return verdict
    options = replace(look.context.options, version=stage.model_version, effective_from=look.effective_from)
    # Gates look as of a date: what was known before it counts.
    found = judge(replace(look.context, day=look.effective_from, options=options))
    if found["verdict"] == VersionVerdict.PASSED:
        return verdict
    checks = ", ".join(found[name] for name in ("failed", "undecided") if name in found)
    told = f"judged again by its gates it is {found['verdict']}{f' ({checks})' if checks else ''}"
    return replace(verdict, what=Next.RETURNS, why=f"{verdict.why}; {told}")


def _return(look: _Look, stage: Promotion, verdict: StageVerdict) -> dict[str, Any]:
    log.warning("%s: version %d is returned: %s", look.context.spec.name, stage.model_version, verdict.why)
    because = Because(verdict.why, (verdict.report,))
    entry = return_entry(
        look.context.spec, _subject(stage), because, effective_from=look.effective_from, now=look.context.now
    )
    return _recorded(look, entry, stage)


def _next_stage(look: _Look, stage: Promotion, verdict: StageVerdict, number: int) -> dict[str, Any]:
    context, before = look.context, terms_of(stage)
    terms = terms_for(context.project.committed, look.rollout, number, before.champion)
    because = Because(verdict.why, (verdict.report,))
    is_first_canary = terms.role is Role.CANARY and before.role is not Role.CANARY
    if is_first_canary and CANARY in look.rollout.approval:
        approval = approval_of(context, stage.model_version, look.effective_from)
        if approval.rejected:
            return _return(look, stage, replace(verdict, why=approval.rejected))
        if approval.waits:
            return _waits(stage.model_version, approval.waits)
        because = replace(because, approver=approval.approver, authentication=approval.authentication)
    entry = stage_entry(
        context.spec, _subject(stage), terms, because, effective_from=look.effective_from, now=context.now
    )
    return _recorded(look, entry, stage)


def _promote(look: _Look, stage: Promotion, verdict: StageVerdict) -> dict[str, Any]:
    """The end of the last stage: the checked promotion, by policy or by whoever has approved."""
    since = stage.sequence if CHAMPION in look.rollout.approval else 0
    approval = approval_of(look.context, stage.model_version, look.effective_from, since=since)
    if approval.rejected:
        return _return(look, stage, replace(verdict, why=approval.rejected))
    if approval.waits:
        return _waits(stage.model_version, approval.waits)
    options = replace(
        look.context.options,
        version=stage.model_version,
        effective_from=look.effective_from,
        by=approval.approver,
        reason=verdict.why,
    )
    failpoint("advancing")
    try:
        done = promote(replace(look.context, options=options), partial(_require_in_force, look, stage))
    except (EvidenceRefusedError, LeakError) as error:
        # Such as bounds that ask for more than when it was judged: it would be served, and never be champion.
        return _return(look, stage, replace(verdict, why=f"{verdict.why}; its promotion is refused: {error.found}"))
    except GateRefusedError as error:
        # Such as an answer or another entry that came between: the next run sees it, and decides anew.
        return _waits(stage.model_version, error.found)
    return {"action": "promoted", "version": stage.model_version, "why": verdict.why, "promotion": done}


def _require_in_force(look: _Look, stage: Promotion, entries: Sequence[Promotion]) -> None:
    """Refuses the promotion at the end of a stage that is not in force any more, or not the last word.

    Raises:
        GateRefusedError: Says what came between, or which champion of later dates it would have to give way to.
    """
    why = _moved(look, stage, stage, entries)
    later = [line for line in champion_lines(entries) if line.effective_from > look.effective_from]
    if later:
        why = why or f"version {later[-1].model_version} is champion from {later[-1].effective_from} on"
    if why:
        raise GateRefusedError(why, expected="a log that has not moved since", remedy="the next run decides anew")


def _waits(version: int, why: str) -> dict[str, Any]:
    log.warning("version %d waits: %s", version, why)
    return {"action": _WAITS, "version": version, "why": why}


def _subject(stage: Promotion) -> Subject:
    return Subject(stage.model_version, stage.package_digest, stage.trained_through)


def _recorded(look: _Look, entry: Promotion, standing: Promotion | None) -> dict[str, Any]:
    """Appends an entry, unless the log or the scored dates have moved on since it was decided."""
    failpoint("advancing")
    context = look.context
    written, why = record_step(context.lake, context.spec, entry, unless=partial(_moved, look, entry, standing))
    if written is None:
        return _nothing(why)
    follow_entry(context, written)
    about = {"version": written.model_version, "sequence": written.sequence,
             "effective_from": str(written.effective_from), "why": written.reason}  # fmt: skip
    named = {"stage": terms_of(written).named} if written.stage_json else {}
    return {"action": written.action} | about | named


def _moved(look: _Look, entry: Promotion, standing: Promotion | None, entries: Sequence[Promotion]) -> str:
    """Why an entry is not written any more that was decided on an earlier state of the log; empty where it is."""
    now = stage_on(entries, look.effective_from)
    champion = champion_on(entries, look.effective_from)
    if (now and now.sequence) != (standing and standing.sequence):
        return "another entry has begun or ended a stage meanwhile"
    if standing is None and entry.model_version in tried(entries):
        return f"version {entry.model_version} was tried meanwhile"
    if champion is None or champion.sequence != look.champion.sequence:
        return "the champion is another one meanwhile"
    problem = "" if entry.action == RETURN else taken_back(entry, entries)
    if problem:
        return f"version {entry.model_version} {problem}"
    newest = _newest(look.context)
    return f"{newest} was scored meanwhile" if newest is not None and newest >= look.effective_from else ""
