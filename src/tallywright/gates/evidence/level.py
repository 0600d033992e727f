"""The level of a promotion's test: how much of a year's chance of a false promotion this try may spend.

Whoever tries often enough promotes a model that is no better: twelve tries at 5 % do so in 46 years of 100. So a year
has one level for all its tries (`gates.yearly_level`), and a try spends a fixed share of what the others have left of
it. Their sum stays below the year's level however many there are, which bounds the chance by Boole's inequality. It is
the alpha-investing of Foster and Stine (Journal of the Royal Statistical Society B 70, 2008) without any earnings.

A candidate that is not decided on its holdout may be looked at again after days in shadow. Its looks are one try and
share its level, which bounds the chance of all looks together in the same way. By the time that a share of the days
that were planned (`gates.shadow_days`) is there, its square is spent: an early look has little to show, and costs
little (the power family of Kim and DeMets, Biometrika 74, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

AS_OF: Final = "as_of"
LEVEL: Final = "level"
LOOK: Final = "look"
"""The checks of a quality report that name its as-of date, the level of its try, and what this look spent of it."""
SHARE: Final = 0.2
"""Of what is left, spent by one try: the first of a year has a fifth of the year's level, the twelfth a sixtieth."""
LEAST: Final = 0.015
"""Of the year's level: a try with less could show nothing but a miracle, so there is none."""
YEAR: Final = timedelta(days=365)
_ROUNDING: Final = 1e-9
"""What is left of a level when equal shares of it are taken away."""


@dataclass(frozen=True, slots=True)
class Try:
    """One candidate that was compared with a champion: its as-of date, and the level that it spent."""

    as_of: date
    level: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent before a look at a candidate: by other tries, and by earlier looks at it, as levels."""

    tries: tuple[Try, ...] = ()
    looks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """The level of one try.

    Attributes:
        as_of: The try's as-of date.
        level: The chance that it promotes a model that is no better; 0 where the year's level is spent.
        yearly: The level of all tries of any 365 days together.
        spent: By the other tries within 365 days.
        tries: How many those are.
        free_from: The first as-of date with a level, where this one has none.
    """

    as_of: date
    level: float
    yearly: float
    spent: float = 0.0
    tries: int = 0
    free_from: date | None = None


def level_of_look(level: Level, looks: Iterable[float], days: int, planned: int) -> float:
    """The level of one look at a candidate; 0 where it adds no day to those of the looks before.

    Args:
        level: Of the try.
        looks: What the earlier looks spent.
        days: The days of evidence by now.
        planned: The days of evidence in the end.
    """
    reached = level.level * min(1.0, days / planned) ** 2
    left = reached - sum(looks)
    return left if left > _ROUNDING * level.level else 0.0


def level_of(as_of: date, tries: Iterable[Try], yearly: float) -> Level:
    """The level of a try, after those that were made before it.

    Args:
        as_of: Of the try.
        tries: The others, in any order. Those less than 365 days away count, later as-of dates too: what was tried
            about next month was tried.
        yearly: The level of a year.
    """
    others = sorted(tries, key=lambda one: one.as_of)
    near = [one for one in others if abs(one.as_of - as_of) < YEAR]
    spent = sum(one.level for one in near)
    level = SHARE * (yearly - spent)
    if level >= LEAST * yearly:
        return Level(as_of, level, yearly, spent, len(near))
    # What is spent becomes free again a year after its own as-of date, one try after the other.
    free_from = next(
        (one.as_of + YEAR for one in near if _left(near, one.as_of + YEAR, yearly) >= LEAST * yearly / SHARE), None
    )
    return Level(as_of, 0.0, yearly, spent, len(near), free_from)


def _left(tries: Iterable[Try], as_of: date, yearly: float) -> float:
    return yearly - sum(one.level for one in tries if abs(one.as_of - as_of) < YEAR)
