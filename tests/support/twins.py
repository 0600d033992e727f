"""Two worlds that get the same inputs in the same order: the runs of one are killed, those of its twin are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable
from synthetic import (
    DAY,
    content_of,
    make_features,
    make_package,
    make_request,
    make_spec,
    put_day,
    read_profile,
    read_scores,
)

from tallywright.data.delta.lake import Lake
from tallywright.records import InputVersion
from tallywright.scoring.commit.manifests import logged_tallies, manifests, recorded_tallies
from tallywright.scoring.day import score_day
from tallywright.scoring.prepare import ScoreOutcome

ROWS = 3000
NOTHING = "nothing"


@dataclass(frozen=True)
class Twins:
    """A world whose runs are killed, and its calm twin."""

    killed: Path
    calm: Path

    @classmethod
    def born(cls, folder: Path) -> Twins:
        """Both, without a day."""
        twins = cls(folder / "killed", folder / "calm")
        for root in (twins.killed, twins.calm):
            root.mkdir()
            make_package(root / "package")
        return twins

    def restate(self, seed: int) -> None:
        """Other features of the day, and a little more of them."""
        for root in (self.killed, self.calm):
            pinned = put_day(self.lake(root), make_spec(), make_features(ROWS + seed, seed=seed))
            (root / f"input-{DAY}.json").write_text(pinned.to_json())

    def lake(self, root: Path) -> Lake:
        return Lake(str(root / "lake"))

    def pinned(self, root: Path) -> InputVersion:
        return InputVersion.from_json((root / f"input-{DAY}.json").read_text())

    def score(self, root: Path, *, engine: str = "local", io: str = "auto") -> ScoreOutcome:
        """Scores the day in this process."""
        spec = make_spec(scoring={"workers": 2, "batch_rows": 256, "io": io})
        package = make_package(root / "package")
        return score_day(make_request(self.lake(root), spec, self.pinned(root), package, engine=engine))

    def content(self, root: Path) -> str:
        """What a plain reader finds of the day."""
        address = str(root / "lake" / "shop__scores")
        return content_of(DeltaTable(address), DAY) if DeltaTable.is_deltatable(address) else NOTHING

    def files(self) -> set[Path]:
        """The data files in the scores of the killed world, those that no reader sees too."""
        return set((self.killed / "lake" / "shop__scores").rglob("*.parquet"))

    def check_equal(self) -> None:
        """The same rows bit for bit, the same tally, once, and the same profile."""
        lake, calm, spec = self.lake(self.killed), self.lake(self.calm), make_spec()
        assert read_scores(lake, spec).equals(read_scores(calm, spec))
        ours, theirs = manifests(lake, spec)[0], manifests(calm, spec)[0]
        same = {"generation", "reason", "rows", "key_digest", "profile_digest", "input"}
        assert ours.model_dump(include=same) == theirs.model_dump(include=same)
        logged = [tally.manifest.generation for tally in logged_tallies(lake, lake.open("shop__scores"), DAY)]
        recorded = [tally.manifest.generation for tally in recorded_tallies(lake, spec, DAY)]
        assert logged.count(ours.generation) == recorded.count(ours.generation) == 1
        row, other = read_profile(lake, spec, ours), read_profile(calm, spec, theirs)
        assert row is not None
        assert row == other
