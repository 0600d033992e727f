"""SIGKILL of scoring processes whose lake is on an object store, and two of them that score one day at once."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from object_store import Bucket
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
from tallywright.scoring.commit.manifests import logged_tallies, manifests, recorded_tallies
from tallywright.scoring.day import score_day
from tallywright.scoring.prepare import ScoreOutcome

pytestmark = pytest.mark.slow

POINTS = ("staging", "staged", "verified", "before-commit", "committed", "tallied", "profiled")
AFTER_COMMIT = POINTS[POINTS.index("committed") :]


@dataclass
class Place:
    """A folder for package and inputs, and a lake that need not be in it."""

    root: Path
    lake: Lake

    def restate(self, seed: int) -> None:
        pinned = put_day(self.lake, make_spec(), make_features(1000 + seed, seed=seed))
        (self.root / f"input-{DAY}.json").write_text(pinned.to_json())
        self.pinned = pinned

    def score(self) -> ScoreOutcome:
        spec = make_spec(scoring={"workers": 2, "batch_rows": 256})
        return score_day(make_request(self.lake, spec, self.pinned, make_package(self.root / "package")))

    def content(self) -> str:
        if not self.lake.exists("shop__scores"):
            return "nothing"
        return content_of(self.lake.open("shop__scores"), DAY, self.lake.options)

    def facts(self) -> tuple[object, ...]:
        """All that must be as if nothing had happened."""
        (manifest,) = manifests(self.lake, make_spec())
        same = {"generation", "reason", "rows", "key_digest", "profile_digest", "input"}
        recorded = sorted(tally.manifest.generation for tally in recorded_tallies(self.lake, make_spec(), DAY))
        row = read_profile(self.lake, make_spec(), manifest)
        assert row is not None
        return manifest.model_dump(include=same), recorded, row, read_scores(self.lake, make_spec()).to_pydict()


@pytest.fixture
def stored(tmp_path: Path, bucket: Bucket) -> tuple[Place, dict[str, str]]:
    """A place whose lake is on a store, and what tells a driver so."""
    address = f"{bucket.address}/lake"
    make_package(tmp_path / "package")
    environment = bucket.environment | {"LAKE": address, "AWS_EC2_METADATA_DISABLED": "true"}
    return Place(tmp_path, Lake(address, bucket.options)), environment


@pytest.mark.long
def test_killed_runs_leave_the_old_tally_or_the_new_one_and_the_retry_finishes(start, stored, tmp_path) -> None:
    place, environment = stored
    calm = Place(tmp_path / "calm", Lake(str(tmp_path / "calm" / "lake")))
    stop, out = tmp_path / "stop", tmp_path / "seen.json"
    reader = start("read", place.root, stop, out, **environment).ready().go()
    generations = ["nothing"]
    for seed, point in enumerate(POINTS):
        victim = start("score", place.root, TALLYWRIGHT_KILL_AT=point, **environment)
        for one in (place, calm):
            one.restate(seed)
        calm.score()
        generations.append(calm.content())
        code, _, _ = victim.ready().go().end()
        assert code == -signal.SIGKILL
        assert place.content() == generations[-1 if point in AFTER_COMMIT else -2]
        assert place.score().action == ("unchanged" if point in AFTER_COMMIT else "committed")
        assert place.facts() == calm.facts()
    stop.touch()
    code, _, error = reader.end()
    assert code == 0, error
    seen = json.loads(out.read_text())
    places = [generations.index(content) for content in seen["seen"]]
    assert places == sorted(places)  # never a part of a day, and never an older one again
    assert seen["reads"] > len(POINTS)


@pytest.mark.long
def test_two_processes_that_score_one_day_make_one_tally(start, stored) -> None:
    place, environment = stored
    for generation in range(1, 4):
        place.restate(generation)
        drivers = [start("score", place.root, **environment) for _ in range(2)]
        for driver in [driver.ready() for driver in drivers]:
            driver.go()
        ends = [driver.end() for driver in drivers]
        assert [code for code, _, _ in ends] == [0, 0], ends
        outcomes = [ScoreOutcome.from_json(out) for _, out, _ in ends]
        assert sorted(outcome.action for outcome in outcomes) == ["committed", "unchanged"]
        assert {outcome.manifest.generation for outcome in outcomes} == {generation}
        assert read_scores(place.lake, make_spec()).num_rows == 1000 + generation
    assert len(list(logged_tallies(place.lake, place.lake.open("shop__scores"), DAY))) == 3
