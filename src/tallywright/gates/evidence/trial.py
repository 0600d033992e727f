"""Holds a challenger against the champion while both score: looked at every day, with the looks paid for.

The unit of evidence is the day, as in the gates. A shadow scores the champion's own rows. A canary scores other keys of
the same days, drawn by a hash: the metric of each arm is computed without each day in turn, and the jackknife is about
their difference, so that what both arms share of a day cancels.

Whoever looks every day finds by chance what is not there. So a level is spent by degrees: when `d` of the `D` days that
were planned are there, the share (d / D)^2 of it is spent, and a look spends what has become due since the day before
(the power family of Kim and DeMets, Biometrika 74, 1987; bounded by Boole's inequality, whatever the looks have in
common). A look of each day is computed again whenever the stage is looked at: what is found does not depend on which
days somebody looked, and a stage that was looked at twice says the same twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.gates.evidence.daily import daily_metric
from tallywright.gates.evidence.interval import MIN_DAYS, Estimate, jackknife
from tallywright.tasks import metric_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.gates.evidence.daily import DailyMetric, Days, Floats
    from tallywright.spec.sections import Costs
    from tallywright.tasks import TaskName


PATIENCE: Final = 2
"""After so many times its days with mature labels a stage is over, however few of them count."""


class TrialFinding(StrEnum):
    """What the days of a stage have shown by now."""

    OPEN = "open"
    """Days are missing, and nothing was shown."""
    WORSE = "worse"
    """The challenger is worse by more than may be."""
    BETTER = "better"
    """The challenger is better; of a test alone."""
    HELD = "held"
    """The days are over, and what was asked is fulfilled."""
    NOT_SHOWN = "not shown"
    """The days are over, and what was asked is not shown."""
    UNDEFINED = "undefined"
    """The days are over, and their labels do not define the metric without each of them."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The labelled rows of one model: labels and scores as the metrics read them, and the day of each row.

    `days` are days since 1970, in any order.
    """

    target: Floats
    scores: Floats
    days: Days


@dataclass(frozen=True, slots=True)
class TrialQuestion:
    """What is asked of the days of a stage.

    Attributes:
        task: What kind of models they are.
        metric: By what they are compared.
        days: So many days end the stage.
        worse_level: The chance that a challenger which is as good as may be is found to be worse.
        level: The chance that one which is not as asked is found to be: better in a test, or within `margin`.
        max_loss: The challenger may be worse by this share of the champion's metric.
        margin: At the end it must be shown to be worse by less than this share; None where it need not.
        test: True where it must be shown to be better.
        min_gain: In a test, by more than this, in the metric's unit.
        costs: Of wrong decisions, for a metric in money.
    """

    task: TaskName
    metric: str
    days: int
    worse_level: float
    level: float
    max_loss: float = 0.0
    margin: float | None = None
    test: bool = False
    min_gain: float = 0.0
    costs: Costs | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What the first days of a stage say: the gain of the challenger, positive where it is better.

    Attributes:
        finding: What follows.
        days: How many days there were.
        challenger: Its metric.
        champion: The champion's.
        gain: With its standard error; None where the days are too few, or do not define the metric.
        worse_level: The level at which the upper bound was taken.
        level: The level at which the lower bound was taken.
    """

    finding: TrialFinding
    days: int
    challenger: float = float("nan")
    champion: float = float("nan")
    gain: Estimate | None = None
    worse_level: float = 0.0
    level: float = 0.0

    def told(self, metric: str) -> str:
        """The look in words."""
        if self.gain is None:
            why = ": without one of them their labels do not define it" * (self.days >= MIN_DAYS)
            return f"{metric} has no interval after {self.days} days{why}"
        lower, upper = self.gain.lower(self.level), self.gain.upper(self.worse_level)
        return (
            f"{metric} {self.challenger:.5f}, the champion's {self.champion:.5f}, gain {self.gain.value:+.5f} "
            f"[{lower:+.5f}, {upper:+.5f}] at {self.level:.2g} below and {self.worse_level:.2g} above, "
            f"from {self.days} days"
        )


def spent_by_look(level: float, days: int, planned: int) -> float:
    """What the look at so many days may spend of a level; the first look may spend all that is due by then."""
    reached = min(days, planned)
    before = reached - 1 if days > MIN_DAYS else 0
    return level * (reached**2 - before**2) / planned**2


def look_at(challenger: Arm, champion: Arm, question: TrialQuestion) -> Look:
    """The first look of a stage that has found something, else the last one.

    Args:
        challenger: Its rows since the stage began.
        champion: The champion's; days that one arm lacks are left out.
        question: What is asked.
    """
    days = np.intersect1d(challenger.days, champion.days)
    last = Look(TrialFinding.OPEN, len(days))
    for look in _looks(challenger, champion, days, question):
        last = look
        if look.finding is not TrialFinding.OPEN:
            break
    return last


def _looks(challenger: Arm, champion: Arm, days: Days, question: TrialQuestion) -> Iterator[Look]:
    """Yields the look of each day from the first that has an interval on."""
    for count in range(MIN_DAYS, len(days) + 1):
        look = _look(challenger, champion, days[:count], question)
        if look is not None:
            yield look


def _look(challenger: Arm, champion: Arm, days: Days, question: TrialQuestion) -> Look | None:
    """The look at these days; None where they do not define the metric, and are not all yet."""
    count, at_end = len(days), len(days) >= question.days
    mine, its = (_by_day(arm, days, question) for arm in (challenger, champion))
    estimate = jackknife(mine.gain_over(its, metric_of(question.metric)))
    if estimate is None:
        return Look(TrialFinding.UNDEFINED, count) if at_end else None
    worse_level = spent_by_look(question.worse_level, count, question.days)
    level = spent_by_look(question.level, count, question.days) if question.test else question.level
    finding = TrialFinding.OPEN
    if estimate.upper(worse_level) < -question.max_loss * abs(its.value):
        finding = TrialFinding.WORSE
    elif question.test and estimate.lower(level) > question.min_gain:
        finding = TrialFinding.BETTER
    elif at_end and not question.test and _within_margin(estimate, its.value, question):
        finding = TrialFinding.HELD
    elif at_end:
        finding = TrialFinding.NOT_SHOWN
    return Look(finding, count, mine.value, its.value, estimate, worse_level, level)


def _within_margin(estimate: Estimate, champion: float, question: TrialQuestion) -> bool:
    """True where nothing more is asked than not to be shown to be worse, or where the margin is shown to be kept."""
    return question.margin is None or estimate.lower(question.level) > -question.margin * abs(champion)


def _by_day(arm: Arm, days: Days, question: TrialQuestion) -> DailyMetric:
    chosen = np.isin(arm.days, days)
    numbered = np.searchsorted(days, arm.days[chosen])
    return daily_metric(
        question.metric, arm.target[chosen], arm.scores[chosen], numbered, task=question.task, costs=question.costs
    )
