"""How far one side's rows of a column lie from another's: the figures that training learns and monitoring judges.

One module for both, so that a day's figure and the bound it is held against can never be made differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.profiles.definition import SCORE
from tallywright.profiles.distance import js_distance, psi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tallywright.profiles.profile import Profile

SHAPES: Final[Mapping[str, Callable[..., float]]] = {"psi": psi, "js": js_distance}
"""The metrics of how the values are spread; the others, `null_share` and `unseen_share`, tell of values that fail."""


@dataclass(frozen=True, slots=True)
class Side:
    """What a comparison needs of one column's profile: all of it can be subtracted, exactly.

    `counts` are those of `Profile.counts`. `failed` maps the metrics that the column has beside its shape to the rows
    they count; the score has none.
    """

    rows: int
    counts: NDArray[np.int64]
    failed: Mapping[str, int]

    @classmethod
    def of(cls, profile: Profile, column: str) -> Side:
        """The column's side; the name `prediction` means the score."""
        found, failed = profile.column(column), {}
        if column != SCORE:
            failed["null_share"] = found.nulls
            if found.kind == "categorical":
                failed["unseen_share"] = found.unseen
        return cls(profile.rows, profile.counts(column), failed)

    def __sub__(self, part: Side) -> Side:
        """This side without some of its own rows."""
        failed = {metric: count - part.failed[metric] for metric, count in self.failed.items()}
        return Side(self.rows - part.rows, self.counts - part.counts, failed)

    @property
    def values(self) -> int:
        """The rows that have a value."""
        return int(self.counts.sum())

    def share(self, metric: str) -> float:
        """The share of rows that `metric` counts; 0 for no rows."""
        return self.failed[metric] / self.rows if self.rows else 0.0


def distances(reference: Side, day: Side) -> dict[str, float]:
    """Metric to figure: how far the shape lies, and by how much the shares of failed rows exceed the reference's.

    There is no shape where a side has no value at all; the null share tells of that.
    """
    found: dict[str, float] = {}
    if reference.values and day.values:
        found |= {metric: distance(reference.counts, day.counts) for metric, distance in SHAPES.items()}
    return found | {metric: day.share(metric) - reference.share(metric) for metric in day.failed}
