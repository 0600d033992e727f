"""The card of a version as it is known now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.records import Verdict, VersionVerdict
from tallywright.registry.approval.answers import standing_answer
from tallywright.registry.promotion_log import REJECT, champion_on
from tallywright.registry.stages import returned, stage_on
from tallywright.reporting.card.content import ModelCard, shown
from tallywright.reporting.card.data import data, reference
from tallywright.reporting.card.known import known_version
from tallywright.reporting.card.life import approvals, checklist, history, origin, realised
from tallywright.reporting.card.purpose import limits, owner, purpose
from tallywright.reporting.card.quality import calibration, comparison, metrics, slices
from tallywright.reporting.card.training import training

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.card.known import KnownVersion
    from tallywright.spec import Project

_SECTIONS = (
    purpose, owner, data, training, metrics, comparison, slices, calibration, reference, realised, limits, checklist,
    approvals, history, origin,
)  # fmt: skip


def model_card(project: Project, lake: Lake, version: int) -> ModelCard:
    """The card of a version: the same for everybody who asks while nothing new is known.

    Raises:
        UsageError: This lake knows no such version.
        IntegrityError: The promotion log was changed.
        StorageError: A table cannot be read.
    """
    known = known_version(project, lake, version)
    state, headline = _standing(known)
    return ModelCard(
        title=f"{known.spec.name}, version {version}",
        state=state,
        headline=headline,
        sections=tuple(section(known) for section in _SECTIONS),
        known=_known_until(known),
    )


def _standing(known: KnownVersion) -> tuple[str, str]:
    """The state of a version in a word and in a sentence: what forbids its use comes first."""
    row, withdrawn = known.row, known.withdrawn
    answer = standing_answer(known.entries, row.model_version, row.package_digest)
    if withdrawn is not None:
        return "withdrawn", f"Withdrawn by line {withdrawn.sequence} of the promotion log: {withdrawn.reason}"
    if known.state == VersionVerdict.REFUSED:
        named = _named(known, Verdict.FAIL)
        return "refused", f"Refused{named}. It may be looked at and score in shadow, and is never promoted."
    if answer is not None and answer.action == REJECT:
        return (
            "rejected",
            f"Rejected by {answer.approver} in line {answer.sequence} of the promotion log: {answer.reason}",
        )
    if known.champion:
        newest = champion_on(known.entries, None)
        stands = newest is not None and newest.model_version == row.model_version
        return "champion" if stands else "former champion", f"Champion {'; '.join(known.champion)}."
    return _of_no_date(known)


def _of_no_date(known: KnownVersion) -> tuple[str, str]:
    """The state of a version that is champion of no date, and neither refused nor rejected."""
    if known.stage:
        version, newest = known.row.model_version, stage_on(known.entries, None)
        stands = newest is not None and newest.model_version == version
        state = "challenger" if stands else "former challenger"
        if version in returned(known.entries):
            state = "returned"
        return state, f"{known.stage[0].upper()}{known.stage[1:]}."
    if known.state == VersionVerdict.UNDECIDED:
        named = _named(known, Verdict.UNDECIDED)
        return "undecided", f"Undecided{named}. Nothing is violated, and not all is shown: it is not promoted as it is."
    return "passed", "Every gate passed; it is champion of no date."


def _named(known: KnownVersion, verdict: Verdict) -> str:
    named = [f"{gate}: {check.name}" for gate, report in sorted(known.reports.items())
             for check in report.with_verdict(verdict)]  # fmt: skip
    return f" by {', '.join(named)}" if named else ""


def _known_until(known: KnownVersion) -> str:
    """Until when this was known: no clock, so that nothing new is the same card."""
    last = known.entries[-1] if known.entries else None
    log = "before any line of the promotion log"
    if last is not None:
        log = f"through line {last.sequence} of the promotion log ({shown(last.recorded_at)})"
    days = [row["score_date"] for row in known.performance]
    realised_through = f", and realised days through {max(days)}" if days else ""
    return f"What stands here was known {log}{realised_through}."
