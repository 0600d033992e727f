"""What adds up about the roles while rows are scored; whole numbers only, so every engine and order gives the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from tallywright.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LIMIT = 2.0**40


class CanaryCounts(Record):
    """How a canary did on its share of the rows.

    `compared` rows have a sound answer of both; the totals are their scores in units of 2**-bits, the champion's.
    """

    rows: int = 0
    problems: int = 0
    compared: int = 0
    champion_total: int = 0
    canary_total: int = 0
    bits: int = 0

    def __add__(self, other: CanaryCounts) -> CanaryCounts:
        added = ("rows", "problems", "compared", "champion_total", "canary_total")
        sums = {name: getattr(self, name) + getattr(other, name) for name in added}
        return CanaryCounts(bits=max(self.bits, other.bits, key=abs), **sums)

    @property
    def problem_share(self) -> float:
        """Of the canary's rows, those without a sound answer."""
        return self.problems / self.rows if self.rows else 0.0

    @property
    def mean_difference(self) -> float:
        """Between the mean scores on the compared rows, never negative."""
        if not self.compared:
            return 0.0
        return abs(self.canary_total - self.champion_total) / self.compared / 2.0**self.bits


class RoleCounts(Record):
    """What a worker hands back about the roles in a split; keys are labels such as `canary:3`."""

    served: dict[str, int] = Field(default_factory=dict)
    """Rows of the scores table."""
    profiles: dict[str, str] = Field(default_factory=dict)
    """Profiles of the models that do not answer for the day; as JSON."""
    canary: CanaryCounts = CanaryCounts()
    failures: dict[str, str] = Field(default_factory=dict)
    """Shadows that failed, and on what."""
    shadow_problems: dict[str, dict[str, int]] = Field(default_factory=dict)
    """What the output gate found in the rows of a shadow."""


def fixed(scores: NDArray[np.float32], bits: int) -> int:
    """The sum of scores in units of 2**-bits, each rounded by itself."""
    units = np.clip(np.rint(scores.astype(np.float64) * 2.0**bits), -_LIMIT, _LIMIT)
    return int(units.astype(np.int64).sum())
