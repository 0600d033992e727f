"""Real processes that score at the same moment."""

from __future__ import annotations

from datetime import timedelta

import pytest
from synthetic import DAY, make_features, make_package, make_spec, put_day, read_scores

from tallywright.data.delta.lake import Lake
from tallywright.scoring.commit.manifests import logged_tallies, manifests
from tallywright.scoring.prepare import ScoreOutcome


@pytest.fixture
def world(tmp_path):
    """A lake, and a function that ingests a day for the drivers."""
    make_package(tmp_path / "package")
    lake, spec = Lake(str(tmp_path / "lake")), make_spec()

    def put(day, seed, rows=500):
        pinned = put_day(lake, spec, make_features(rows, seed=seed), day=day)
        (tmp_path / f"input-{day}.json").write_text(pinned.to_json())

    return tmp_path, lake, spec, put


@pytest.mark.slow
def test_two_processes_that_score_one_day_make_one_tally(start, world) -> None:
    root, lake, spec, put = world
    for generation in range(1, 4):
        put(DAY, seed=generation)
        drivers = [start("score", root), start("score", root)]
        for driver in [driver.ready() for driver in drivers]:
            driver.go()
        ends = [driver.end() for driver in drivers]
        assert [code for code, _, _ in ends] == [0, 0], ends
        outcomes = [ScoreOutcome.from_json(out) for _, out, _ in ends]
        assert sorted(outcome.action for outcome in outcomes) == ["committed", "unchanged"]
        assert {outcome.manifest.generation for outcome in outcomes} == {generation}
        assert read_scores(lake, spec).num_rows == 500
    assert len(list(logged_tallies(lake, lake.open("shop__scores"), DAY))) == 3


@pytest.mark.slow
def test_processes_that_score_many_days_at_once_all_land(start, world) -> None:
    root, lake, spec, put = world
    days = [DAY + timedelta(days=offset) for offset in range(4)]
    for seed, day in enumerate(days):
        put(day, seed)
    drivers = [start("score", root, "--day", day, "--workers", 1) for day in days for _ in range(2)]
    for driver in [driver.ready() for driver in drivers]:
        driver.go()
    ends = [driver.end() for driver in drivers]
    assert [code for code, _, _ in ends] == [0] * 8, ends
    assert [manifest.score_date for manifest in manifests(lake, spec)] == days
    assert len(list(logged_tallies(lake, lake.open("shop__scores")))) == 4
    for seed, day in enumerate(days):
        keys = read_scores(lake, spec, day)["order_id"].to_pylist()
        assert keys == [f"öрд-{seed}-{row:07d}" for row in range(500)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("beam", marks=pytest.mark.beam)])
def test_a_full_disk_is_a_clear_storage_error_and_changes_nothing(engine: str, start, world) -> None:
    root, lake, spec, put = world
    put(DAY, seed=1)
    scores = ("score", root, "--engine", engine)
    code, _, error = start(*scores).ready().go().end()
    assert code == 0, error
    before = read_scores(lake, spec)
    put(DAY, seed=2, rows=5000)
    files = set((root / "lake" / "shop__scores").rglob("*.parquet"))
    for limit, moment in ((20_000, ""), (100, "before-commit")):
        code, _, error = start(*scores, "--file-limit", limit, "--limit-at", moment).ready().go().end()
        assert code == 11, error
        assert "failed" in error
        assert "to do:" in error
        assert "Traceback" not in error
        assert read_scores(lake, spec).equals(before)
        assert set((root / "lake" / "shop__scores").rglob("*.parquet")) == files
    code, _, error = start(*scores).ready().go().end()
    assert code == 0, error
    assert read_scores(lake, spec).num_rows == 5000
