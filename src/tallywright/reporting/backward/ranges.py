"""Days as ranges: from and to, where each open period follows the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from tallywright.spec.calendar import Calendar


def in_ranges(days: Iterable[date], calendar: Calendar) -> list[list[date]]:
    """The days in runs without a gap: a closed period between two of them is none."""
    runs: list[list[date]] = []
    for day in sorted(set(days)):
        if runs and day in (calendar.next(runs[-1][-1]), calendar.next_open(runs[-1][-1])):
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


def told(run: list[date]) -> str:
    """A run for people."""
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"
