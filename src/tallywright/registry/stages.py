"""The stages of a challenger: entries of the promotion log that say who scores beside the champion from which date on.

A date has at most one challenger. Its stage ends with the next stage, with a return or a withdrawal of the version, and
with every change of the champion that it was held against. Like the champion of a date it is a pure function of the
entries: one that is written for dates to come changes nothing about a date of before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.records import Promotion, Role, StoredRecord
from tallywright.registry.promotion_log import (
    RETURN,
    STAGE,
    WITHDRAW,
    PromotionLog,
    champion_lines,
    champion_on,
    in_force,
)
from tallywright.spec.calendar import Span  # noqa: TC001 - a field's type, read when a record is made
from tallywright.spec.sections import Canary, CanaryLimits, Costs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec
    from tallywright.spec.sections import Scoring


class StageTerms(StoredRecord):
    """A stage as it was begun: nothing that the spec says later changes how it scores, and how it ends.

    Attributes:
        number: Of the stages of the rollout, from 1.
        of: How many these were.
        role: `shadow` or `canary`.
        share: Of the keys; 0 of a shadow.
        days: So many days with mature labels end it.
        margin: To be left, the version must be shown to be worse by less than this share; None where it need not.
        test: True for a test of who is better.
        min_gain: In such a test, by more than this.
        metric: By what it is held against the champion.
        level: The chance of each wrong end of the whole rollout.
        max_loss: It is returned when shown to be worse by more than this share of the champion's metric.
        limits: What a canary may do to a day.
        costs: Of wrong decisions, where the spec gave any.
        champion: The version that it is held against.
        maturity: How long after its end the labels of a day are mature; None in an entry of before: as the spec says.
    """

    number: int
    of: int
    role: Role
    share: float = 0.0
    days: int
    margin: float | None = None
    test: bool = False
    min_gain: float = 0.0
    metric: str
    level: float
    max_loss: float = 0.0
    limits: CanaryLimits = CanaryLimits()
    costs: Costs | None = None
    champion: int
    maturity: Span | None = None

    @property
    def named(self) -> str:
        """The stage in words, such as `canary .25 (3 of 3)`."""
        what = "A/B" if self.test else self.role.value
        return f"{what}{f' {self.share:g}' if self.share else ''} ({self.number} of {self.of})"


def terms_of(entry: Promotion) -> StageTerms:
    """The terms of a stage."""
    return StageTerms.from_json(entry.stage_json)


def stage_named(entry: Promotion) -> str:
    """The stage that an entry begins, in words; empty for every other entry."""
    return terms_of(entry).named if entry.action == STAGE else ""


def stage_on(entries: Iterable[Promotion], day: date | None) -> Promotion | None:
    """The stage in force on a date, as the entries have it; on the latest date of all for None."""
    lines = in_force(entries, day)
    stage = next((entry for entry in reversed(lines) if entry.action == STAGE), None)
    if stage is None:
        return None
    later = lines[lines.index(stage) + 1 :]
    mine = [entry for entry in lines if entry.model_version == stage.model_version]
    is_over = any(entry.action == RETURN for entry in later if entry in mine)
    is_withdrawn = any(entry.action == WITHDRAW and entry.sequence > stage.sequence for entry in mine)
    is_over = is_over or is_withdrawn or bool(champion_lines(later))
    return None if is_over or _was_replaced(lines, stage) else stage


def _was_replaced(lines: Sequence[Promotion], stage: Promotion) -> bool:
    """True once anybody else was champion since the stage was recorded: it does not come back with its champion."""
    champion = terms_of(stage).champion
    for last in [stage.sequence, *(line.sequence for line in lines if line.sequence > stage.sequence)]:
        found = champion_on([line for line in lines if line.sequence <= last], None)
        if found is None or found.model_version != champion:
            return True
    return False


def tried(entries: Iterable[Promotion]) -> set[int]:
    """The versions that have begun a stage: none of them begins again."""
    return {entry.model_version for entry in entries if entry.action == STAGE}


def returned(entries: Iterable[Promotion]) -> dict[int, Promotion]:
    """The returns, by version."""
    return {entry.model_version: entry for entry in entries if entry.action == RETURN}


def staged_scoring(scoring: Scoring, stage: Promotion | None) -> Scoring:
    """The section `scoring` of a date on which a stage is in force: the canary's share and limits are the stage's.

    So they are a part of the identity of the day's tally, as a canary of the spec is.
    """
    terms = None if stage is None else terms_of(stage)
    if stage is None or terms is None or terms.role is not Role.CANARY:
        return scoring
    canary = Canary(model=stage.model_version, share=terms.share, limits=terms.limits)
    return scoring.model_copy(update={"canary": canary})


def record_step(
    lake: Lake, spec: ModelSpec, entry: Promotion, *, unless: Callable[[Sequence[Promotion]], str]
) -> tuple[Promotion | None, str]:
    """Appends a stage or a return; a log that has moved on since it was decided is left as it is.

    Args:
        lake: Where the log is.
        spec: Whose log.
        entry: The entry.
        unless: Says of the log as it stands why the entry is not written; empty where it is.

    Returns:
        The entry as written; or None, and why.
    """
    reasons: list[str] = [""]

    def propose(entries: Sequence[Promotion]) -> Promotion | None:
        reasons[0] = unless(entries)
        return None if reasons[0] else entry

    return PromotionLog(lake, spec).append(propose), reasons[0]
