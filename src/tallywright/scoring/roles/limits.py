"""What is judged over the whole day before the commit: a canary's limits, and how many rows may fall back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import GateRefusedError
from tallywright.records import Role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.scoring.roles.role_model import CanaryCounts
    from tallywright.spec.roles import CanaryLimits, Fallback


def broken_limits(limits: CanaryLimits, counts: CanaryCounts) -> str:
    """Which limits the canary broke, in words; empty when it kept them."""
    if counts.stopped:
        return "rows have no sound answer: its graph raises an error, and max_problem_share allows none"
    found = []
    if counts.problem_share > limits.max_problem_share:
        found.append(
            f"{counts.problems} of {counts.rows} rows have no sound answer, "
            f"{counts.problem_share:.2%} are more than {limits.max_problem_share:.2%}"
        )
    if counts.mean_difference > limits.max_mean_difference:
        found.append(
            f"the mean score of {counts.compared} rows differs from the champion's by {counts.mean_difference:.4g}, "
            f"more than {limits.max_mean_difference:g}"
        )
    return "; ".join(found)


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
