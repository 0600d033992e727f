"""One loaded model of a day in its role, and what adds up while it and the others score rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallywright.data.fingerprint import RowDigest
from tallywright.scoring.roles.counts import CanaryCounts, RoleCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.profiles.accumulate import Accumulator
    from tallywright.scoring.roles.guarded import AnyPredictor


@dataclass(slots=True)
class Counts:
    """What adds up while rows are scored."""

    profile: Accumulator
    """Of the model that answers for the day."""
    keys: RowDigest = field(default_factory=RowDigest)
    """Digest of the key columns as they were READ; verification compares it with what was written."""
    problems: Counter[str] = field(default_factory=Counter)
    """What the output gate found in the rows of the scores table, and how often."""
    served: Counter[str] = field(default_factory=Counter)
    """Rows of the scores table by label, such as `canary:3`."""
    profiles: dict[str, Accumulator] = field(default_factory=dict)
    """Of every other model, by label."""
    canary: CanaryCounts = field(default_factory=CanaryCounts)
    shadow_problems: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Shadows that failed, by label: they are not asked again."""

    def roles(self) -> RoleCounts:
        """The counts by role, for a part's manifest."""
        return RoleCounts(
            served=dict(self.served),
            profiles={label: counted.profile().to_json() for label, counted in self.profiles.items()},
            canary=self.canary,
            failures=dict(self.failures),
            shadow_problems={label: dict(found) for label, found in self.shadow_problems.items()},
        )


@dataclass(frozen=True, slots=True)
class RoleModel:
    """One loaded model of a day, and a full batch of each of its provenance columns (smaller ones take a slice)."""

    label: str
    predictor: AnyPredictor
    constants: Mapping[str, pa.Array]
