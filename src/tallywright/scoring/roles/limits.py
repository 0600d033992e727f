"""What is judged over the whole day before the commit: a canary's limits, and how many rows may fall back.

The canary's rows are a random part of the day's, drawn by the hash of their keys: what is found in few of them may be
chance. So a limit is broken when the interval of the figure lies beyond it, not when the figure does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.errors import GateRefusedError
from tallywright.records import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.scoring.roles.role_model import CanaryCounts
    from tallywright.spec.sections import CanaryLimits, Fallback


@dataclass(frozen=True, slots=True)
class CanaryVerdict:
    """How a canary did against its limits, in words.

    Attributes:
        broken: The limits that it is shown to be beyond; empty when it kept them.
        unsettled: Those that it is beyond by figures that may be chance, or that could not be judged.
        figures: All figures, with their intervals.
    """

    broken: str
    unsettled: str
    figures: str


def judge_canary(limits: CanaryLimits, counts: CanaryCounts) -> CanaryVerdict:
    """Holds the intervals of a canary's figures against its limits."""
    if counts.stopped:
        problem = "rows have no sound answer: its graph raises an error, and max_problem_share allows none"
        return CanaryVerdict(problem, "", problem)
    judged = [_problems(limits.max_problem_share, counts), _difference(limits.max_mean_difference, counts)]
    return CanaryVerdict(
        "; ".join(f"{one.figure}, more than {one.limit}" for one in judged if one.beyond),
        "; ".join(f"{one.figure}: {one.doubt}" for one in judged if one.doubt),
        "; ".join(one.figure for one in judged),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """One figure in words, its limit, whether it is shown to be beyond it, and what is not known."""

    figure: str
    limit: str
    beyond: bool
    doubt: str


def _problems(limit: float, counts: CanaryCounts) -> _Judged:
    found = counts.problem_share
    figure = (
        f"{counts.problems} of {counts.rows} rows have no sound answer, "
        f"{found.value:.2%} [{found.lower:.2%}, {found.upper:.2%}]"
    )
    return _judged(figure, f"{limit:.2%}", shown=found.lower > limit, seen=found.value > limit)


def _difference(limit: float, counts: CanaryCounts) -> _Judged:
    found = counts.mean_difference
    if found is None:
        figure = f"the mean score of {counts.compared} rows has no interval"
        return _Judged(figure, f"{limit:g}", beyond=False, doubt="not judged, at least 2 rows are needed")
    figure = (
        f"the mean score of {found.rows} rows differs from the champion's by "
        f"{found.value:+.4g} [{found.lower:+.4g}, {found.upper:+.4g}]"
    )
    shown = found.lower > limit or found.upper < -limit
    return _judged(figure, f"{limit:g}", shown=shown, seen=abs(found.value) > limit)


def _judged(figure: str, limit: str, *, shown: bool, seen: bool) -> _Judged:
    return _Judged(figure, limit, shown, f"more than {limit} is not shown" if seen and not shown else "")


def check_fallback(fallback: Fallback, served: Mapping[str, int], day: date) -> None:
    """Refuses a day on which the fallback had to stand in for too many rows.

    Raises:
        GateRefusedError: Their share is above `scoring.fallback.max_share`.
    """
    total = sum(served.values())
    fell_back = sum(rows for label, rows in served.items() if label.startswith(f"{Role.FALLBACK.value}:"))
    if total and fell_back / total > fallback.max_share:
        raise GateRefusedError(
            f"the fallback had to stand in for {fell_back} of {total} rows of {day}, {fell_back / total:.1%}",
            expected=f"at most {fallback.max_share:.1%}: scoring.fallback.max_share",
            remedy="look at the champion and at the day's features; the table is unchanged",
        )
