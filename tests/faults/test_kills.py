"""SIGKILL at every named point and at random moments: after the retry the table is as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from deltalake import DeltaTable
from synthetic import (
    DAY,
    ROLES,
    content_of,
    make_cast,
    make_features,
    make_package,
    make_request,
    make_spec,
    put_day,
    read_scores,
)

from tallywright.data.lake import Lake
from tallywright.records import InputVersion
from tallywright.scoring.profile_table import read_profiles
from tallywright.scoring.tallies import manifests, recorded_tallies
from tallywright.scoring.tally import ScoreOutcome, score_day

POINTS = ("staging", "staged", "verified", "shadowed", "before-commit", "committed", "tallied", "profiled")
KILLS = int(os.environ.get("TALLYWRIGHT_KILLS", "12"))
ROWS = 3000


@dataclass
class Twins:
    """A world whose runs are killed, and its twin whose runs are not; both get the same inputs in the same order."""

    killed: Path
    calm: Path

    def restate(self, seed: int) -> None:
        for root in (self.killed, self.calm):
            pinned = put_day(self.lake(root), make_spec(), make_features(ROWS + seed, seed=seed))
            (root / f"input-{DAY}.json").write_text(pinned.to_json())

    def lake(self, root: Path) -> Lake:
        return Lake(str(root / "lake"))

    def score(self, root: Path) -> ScoreOutcome:
        pinned = InputVersion.from_json((root / f"input-{DAY}.json").read_text())
        spec = make_spec(scoring={"workers": 2, "batch_rows": 256} | ROLES)
        cast = make_cast(root / "cast", spec)
        return score_day(make_request(self.lake(root), spec, pinned, make_package(root / "package"), **cast))

    def check_equal(self) -> None:
        lake, calm, spec = self.lake(self.killed), self.lake(self.calm), make_spec()
        for what in ("scores", "shadow"):
            assert read_scores(lake, spec, what=what).equals(read_scores(calm, spec, what=what))
        ours, theirs = manifests(lake, spec)[0], manifests(calm, spec)[0]
        same = {"generation", "reason", "rows", "key_digest", "profile_digest", "input", "roles"}
        assert ours.model_dump(include=same) == theirs.model_dump(include=same)
        assert [tally.manifest.generation for tally in recorded_tallies(lake, spec, DAY)].count(ours.generation) == 1
        rows, others = read_profiles(lake, spec, ours), read_profiles(calm, spec, theirs)
        assert {row.role for row in rows.values()} == {"champion", "canary", "fallback", "shadow"}
        assert rows == others


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    worlds = Twins(tmp_path / "killed", tmp_path / "calm")
    for root in (worlds.killed, worlds.calm):
        root.mkdir()
        make_package(root / "package")
        make_cast(root / "cast", make_spec())
    return worlds


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_runs_leave_the_old_tally_or_the_new_one_and_the_retry_finishes(start, twins, tmp_path) -> None:
    stop, out = tmp_path / "stop", tmp_path / "seen.json"
    reader = start("read", twins.killed, stop, out).ready()
    moments = random.Random(KILLS)
    generations = ["nothing"]
    longest = 0.5
    plan = [POINTS[attempt] if attempt < len(POINTS) else "" for attempt in range(KILLS)]
    waiting = start("score", twins.killed, "--roles", TALLYWRIGHT_KILL_AT=plan[0])
    for attempt, point in enumerate(plan):
        twins.restate(attempt)
        victim = waiting.ready().go()
        began = time.monotonic()
        if not point:
            time.sleep(moments.uniform(0, longest))
            victim.process.kill()
        code = victim.process.wait(timeout=60)
        assert code == -signal.SIGKILL or not point, victim.end()
        if point == POINTS[-1]:
            longest = time.monotonic() - began
        if attempt + 1 < KILLS:
            waiting = start("score", twins.killed, "--roles", TALLYWRIGHT_KILL_AT=plan[attempt + 1])
        twins.score(twins.killed)
        twins.score(twins.calm)
        twins.check_equal()
        generations.append(content_of(DeltaTable(str(twins.calm / "lake" / "shop__scores")), DAY))
    stop.touch()
    assert reader.end()[0] == 0
    seen = json.loads(out.read_text())
    places = [generations.index(content) for content in seen["seen"]]
    assert places == sorted(places)  # never a part of a day, and never an older one again
    assert seen["reads"] > KILLS


@pytest.mark.slow
def test_a_kill_between_the_commits_of_shadows_and_scores_is_finished_without_a_second_commit_of_shadows(
    start, twins
) -> None:
    twins.restate(1)
    victim = start("score", twins.killed, "--roles", TALLYWRIGHT_KILL_AT="shadowed").ready().go()
    assert victim.process.wait(timeout=60) == -signal.SIGKILL
    lake, spec = twins.lake(twins.killed), make_spec()
    # The shadows stand, the day is not scored: nobody serves them, and nobody counts the day.
    assert read_scores(lake, spec, what="shadow").num_rows == ROWS + 1
    assert manifests(lake, spec) == []
    before = lake.open("shop__shadow").version()
    twins.score(twins.killed)
    twins.score(twins.calm)
    twins.check_equal()
    assert lake.open("shop__shadow").version() == before
