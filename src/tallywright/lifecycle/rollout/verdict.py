"""What follows from the days of a stage: the challenger stays, goes on, or is returned, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tallywright.gates.evidence.trial import PATIENCE, Look, TrialFinding, TrialQuestion, look_at
from tallywright.records import Check, GateReport, Verdict
from tallywright.registry.stages import terms_of

if TYPE_CHECKING:
    from tallywright.lifecycle.rollout.days import StageDays
    from tallywright.records import Promotion
    from tallywright.registry.stages import StageTerms
    from tallywright.spec import ModelSpec

ROLLOUT: Final = "rollout"
"""The name of the reports about stages."""
_LIMITS: Final = "limits"
_LABELLED: Final = "labelled"
_SCORED: Final = "scored"


class Next(StrEnum):
    """What becomes of a challenger."""

    STAYS = "stays"
    GOES_ON = "goes on"
    RETURNS = "returns"


@dataclass(frozen=True, slots=True)
class StageVerdict:
    """What follows from a stage by some day, why, and the report that says so."""

    what: Next
    why: str
    report: GateReport


def judge_stage(spec: ModelSpec, stage: Promotion, days: StageDays) -> StageVerdict:
    """Judges a stage by the terms with which it was begun."""
    terms = terms_of(stage)
    look = look_at(days.challenger, days.champion, question_of(spec, terms))
    what, why, failed = _judged(terms, look, days)
    return StageVerdict(what, why, _report(spec, stage, look, days, failed))


def question_of(spec: ModelSpec, terms: StageTerms) -> TrialQuestion:
    """What is asked of the days of a stage; the stages share the level of a wrong return equally (Bonferroni)."""
    return TrialQuestion(
        task=spec.training.task,
        metric=terms.metric,
        days=terms.days,
        worse_level=terms.level / terms.of,
        level=terms.level,
        max_loss=terms.max_loss,
        margin=terms.margin,
        test=terms.test,
        min_gain=terms.min_gain,
        costs=terms.costs,
    )


def _judged(terms: StageTerms, look: Look, days: StageDays) -> tuple[Next, str, str]:
    """What follows, why, and of a return the check that has failed."""
    if days.broken:
        day, limit = min(days.broken.items())
        return Next.RETURNS, f"{terms.named}: a limit broke on {day}: {limit}", _LIMITS
    if look.finding in {TrialFinding.BETTER, TrialFinding.HELD}:
        return Next.GOES_ON, f"{terms.named}: {look.told(terms.metric)}", ""
    if look.finding is not TrialFinding.OPEN:
        return Next.RETURNS, *_bad_end(terms, look)
    missing = _missing(terms, look, days)
    if look.days + len(days.bare) >= PATIENCE * terms.days:
        return Next.RETURNS, f"{terms.named}: not measured: {missing}", _LABELLED
    if len(days.silent) >= terms.days:
        day, why = max(days.silent.items())
        told = f"it has not scored on {len(days.silent)} days, the last {day}: {why}"
        return Next.RETURNS, f"{terms.named}: {told}", _SCORED
    return Next.STAYS, f"{terms.named}: {missing}", ""


def _bad_end(terms: StageTerms, look: Look) -> tuple[str, str]:
    """Why the days end the trial, and the check that has failed."""
    told, gain = look.told(terms.metric), _gain_of(terms)
    if look.finding is TrialFinding.WORSE:
        return f"{terms.named}: shown to be worse: {told}", gain
    if look.finding is TrialFinding.UNDEFINED:
        return f"{terms.named}: not measured: {told}", _LABELLED
    wanted = "shown to be better" if terms.test else f"shown to be worse by less than {terms.margin:.2%}"
    return f"{terms.named}: not {wanted} in {look.days} days: {told}", gain


def _gain_of(terms: StageTerms) -> str:
    return f"gain_{terms.metric}"


def _missing(terms: StageTerms, look: Look, days: StageDays) -> str:
    parts = [f"{look.days} of {terms.days} days have mature labels"]
    parts += [f"{len(days.bare)} have no labelled rows"] * bool(days.bare)
    parts += [f"{len(days.young)} wait for theirs"] * bool(days.young)
    parts += [f"{len(days.silent)} are without its scores"] * bool(days.silent)
    return ", ".join(parts)


def _report(spec: ModelSpec, stage: Promotion, look: Look, days: StageDays, failed: str) -> GateReport:
    """The evidence as a report about the version."""
    terms, question = terms_of(stage), question_of(spec, terms_of(stage))
    told, missing, most = look.told(terms.metric), _missing(terms, look, days), PATIENCE * terms.days
    checks = [
        Check(name="stage", verdict=Verdict.NOTE, observed=terms.named, evidence=f"since {stage.effective_from}"),
        Check(name="held_against", verdict=Verdict.NOTE, observed=f"version {terms.champion}"),
        Check(name="days", verdict=Verdict.NOTE, observed=float(look.days), bound=f">= {terms.days}", evidence=missing),
        Check.of(_LIMITS, not days.broken, float(len(days.broken)), "0 days on which one broke",
                 "; ".join(f"{day}: {limit}" for day, limit in sorted(days.broken.items()))),
        Check.of(_SCORED, failed != _SCORED, float(len(days.silent)), f"< {terms.days} days without its scores",
                 "; ".join(f"{day}: {why}" for day, why in sorted(days.silent.items()))),
        Check.of(_LABELLED, failed != _LABELLED, float(look.days),
                 f"{terms.days} of {most} days with labels that define {terms.metric}", f"{missing}; {told}"),
    ]  # fmt: skip
    if look.gain is not None:
        asked = f"> {question.min_gain:g}, its lower bound" if terms.test else "not shown to be a loss"
        checks.append(Check.of(_gain_of(terms), failed != _gain_of(terms), look.gain.value, asked, told))
    return GateReport(gate=ROLLOUT, model=spec.name, subject=stage.package_digest, checks=tuple(checks))
