"""How much the days of the reference differ from one another: what an ordinary day may look like.

The rows of a day are not independent (one weather, one rolling rate for all of them), so one day never looks like four
months, and no formula that counts rows knows by how much. The reference's own days do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import date
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from tallywright.profiles.comparison import Side, distances
from tallywright.profiles.definition import SCORE
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.profiles.profile import Profile


class ReferenceDays(Record):
    """The figures of each day of the reference against all its other days, ascending, by column and metric.

    `days` are those that were large enough to be compared. A column's list is shorter than that when the column had no
    value on some of them.
    """

    definition_digest: str
    days: tuple[date, ...]
    values: dict[str, dict[str, tuple[float, ...]]]

    @classmethod
    def learn(cls, profiles: Mapping[date, Profile], *, min_rows: int = 1) -> ReferenceDays:
        """Compares each day with the sum of all the others.

        Args:
            profiles: Every day of the reference, counted by one definition; at least one.
            min_rows: A day with fewer rows is noise by itself: it stands among the others only.
        """
        whole = reduce(add, profiles.values())
        large = {day: profile for day, profile in sorted(profiles.items()) if profile.rows >= min_rows}
        return cls(
            definition_digest=whole.definition_digest,
            days=tuple(large),
            values={column: _left_out(whole, large, column) for column in (*whole.columns, SCORE)},
        )

    def bound(self, column: str, metric: str, quantile: float) -> float | None:
        """The value that the share `quantile` of the days does not exceed; None when no day had a value.

        The next day, if it is one like these, exceeds it with a probability of about 1 - quantile, and of
        1 / (days + 1) at 1.0.
        """
        values = self.values.get(column, {}).get(metric, ())
        return values[max(math.ceil(quantile * len(values)), 1) - 1] if values else None


def _left_out(whole: Profile, days: Mapping[date, Profile], column: str) -> dict[str, tuple[float, ...]]:
    everything, found = Side.of(whole, column), defaultdict(list)
    for profile in days.values():
        day = Side.of(profile, column)
        others = everything - day
        if others.rows and day.rows:  # a side without rows has no shares
            for metric, value in distances(others, day).items():
                found[metric].append(value)
    return {metric: tuple(sorted(values)) for metric, values in found.items()}
