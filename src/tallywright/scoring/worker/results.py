"""What workers hand back: a manifest of each staged part, the counts of a piece, and the sums of a day."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field

from tallywright.data.fingerprint import RowDigest
from tallywright.profiles.profile import Profile
from tallywright.records import Record
from tallywright.scoring.roles.counts import CanaryCounts, RoleCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.data.fingerprint import Hashes


class PartManifest(Record):
    """What a worker hands back about one staged part."""

    split: int
    path: str
    """Relative to its table, which is the scores table (for a shadow's part, the table of shadows)."""
    size: int
    rows: int
    statistics: str
    """The `stats` text of the part's add action."""
    keys: RowDigest
    problems: dict[str, int]
    profile_json: str
    roles: RoleCounts = RoleCounts()
    shadows: dict[str, PartManifest] = Field(default_factory=dict)
    """The parts of the shadows that scored all of the split, by label."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a piece of a day that an engine keeps itself."""

    read: RowDigest
    """Of the keys as they were read."""
    hashes: Hashes
    """Of the keys as they will be written, one a row."""
    problems: Mapping[str, int]
    profile_json: str
    roles: RoleCounts = field(default_factory=RoleCounts)


@dataclass(slots=True)
class DaySums:
    """The counts of all splits of a day."""

    profile: Profile
    """Of the model that answers for the day."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    canary: CanaryCounts = field(default_factory=CanaryCounts)
    failures: dict[str, str] = field(default_factory=dict)
    shadow_problems: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, pieces: Sequence[PartManifest | Counted]) -> DaySums:
        """The sums over the pieces of a day, in any order."""
        first, *others = [Profile.from_json(piece.profile_json) for piece in pieces]
        sums = cls(sum(others, start=first))
        for piece in pieces:
            sums.add(piece.roles)
        return sums

    def add(self, counts: RoleCounts) -> None:
        """Adds the counts of one split."""
        self.served.update(counts.served)
        self.canary += counts.canary
        for label, text in counts.profiles.items():
            profile = Profile.from_json(text)
            self.profiles[label] = self.profiles[label] + profile if label in self.profiles else profile
        for label, failure in counts.failures.items():
            self.failures[label] = min(failure, self.failures.get(label, failure))
        for label, problems in counts.shadow_problems.items():
            self.shadow_problems.setdefault(label, Counter()).update(problems)
