"""Kills while a model in every role scores: scores and shadows are two tables, and the retry finishes both."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from synthetic import ROLES, make_cast, make_package, make_request, make_spec, read_scores
from twins import ROWS, Twins

from tallywright.scoring.commit.manifests import manifests
from tallywright.scoring.commit.profile_table import read_profiles
from tallywright.scoring.day import score_day
from tallywright.scoring.prepare import ScoreOutcome

from .test_kill_matrix import DRIVER_POINTS

POINTS = (*DRIVER_POINTS, "shadowed")

pytestmark = pytest.mark.slow


class RoleTwins(Twins):
    """Twins whose days have a canary, a shadow and a fallback."""

    @classmethod
    def born(cls, folder: Path) -> RoleTwins:
        twins = super().born(folder)
        for root in (twins.killed, twins.calm):
            make_cast(root / "cast", make_spec())
        assert isinstance(twins, RoleTwins)
        return twins

    def score(self, root: Path, *, engine: str = "local", io: str = "auto") -> ScoreOutcome:
        spec = make_spec(scoring={"workers": 2, "batch_rows": 256, "io": io} | ROLES)
        package, cast = make_package(root / "package"), make_cast(root / "cast", spec)
        return score_day(make_request(self.lake(root), spec, self.pinned(root), package, engine=engine, **cast))

    def check_equal(self) -> None:
        super().check_equal()
        lake, calm, spec = self.lake(self.killed), self.lake(self.calm), make_spec()
        assert read_scores(lake, spec, what="shadow").equals(read_scores(calm, spec, what="shadow"))
        ours, theirs = manifests(lake, spec)[0], manifests(calm, spec)[0]
        assert ours.roles == theirs.roles
        rows, others = read_profiles(lake, spec, ours), read_profiles(calm, spec, theirs)
        assert {row.role for row in rows.values()} == {"champion", "canary", "fallback", "shadow"}
        assert rows == others


@pytest.fixture
def role_twins(tmp_path: Path) -> RoleTwins:
    return RoleTwins.born(tmp_path)


@pytest.mark.long
def test_a_kill_anywhere_is_finished_in_both_tables(start, role_twins) -> None:
    for seed, point in enumerate(POINTS):
        role_twins.restate(seed)
        victim = start("score", role_twins.killed, "--roles", TALLYWRIGHT_KILL_AT=point).ready().go()
        assert victim.process.wait(timeout=60) == -signal.SIGKILL, victim.end()
        role_twins.score(role_twins.killed)
        role_twins.score(role_twins.calm)
        role_twins.check_equal()


def test_after_a_kill_between_the_two_commits_the_shadows_are_not_committed_again(start, role_twins) -> None:
    role_twins.restate(1)
    victim = start("score", role_twins.killed, "--roles", TALLYWRIGHT_KILL_AT="shadowed").ready().go()
    assert victim.process.wait(timeout=60) == -signal.SIGKILL
    lake, spec = role_twins.lake(role_twins.killed), make_spec()
    # The shadows stand, the day is not scored: nobody serves them, and nobody counts the day.
    assert read_scores(lake, spec, what="shadow").num_rows == ROWS + 1
    assert manifests(lake, spec) == []
    before = lake.open("shop__shadow").version()
    role_twins.score(role_twins.killed)
    role_twins.score(role_twins.calm)
    role_twins.check_equal()
    assert lake.open("shop__shadow").version() == before
