"""One writer after the other: what is older never goes over what is newer, and nothing but the log decides."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shared import shared
from synthetic import DAY
from writers import NEXT, Day, make_versions

from tallywright.errors import CommitConflictError
from tallywright.observability import at_failpoint
from tallywright.packaging.package import PackageCache
from tallywright.reporting.trace import trace

FALLBACK = {"fallback": {"model": "previous", "covers": ["package"], "max_share": 1.0}}


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    made = make_versions(folder)
    shared(folder)
    return made


@pytest.fixture
def day(tmp_path, versions) -> Day:
    """Ingested and gated, not scored."""
    made = Day.born(tmp_path, versions)
    made.ingest()
    made.gate()
    return made


def meanwhile(point: str, action) -> None:
    """Does something when this thread passes the point for the first time, as another process would."""
    waiting = [action]

    def listen(name: str) -> None:
        if name == point and waiting:
            waiting.pop()()

    at_failpoint.set(listen)


@pytest.fixture(autouse=True)
def _nobody_listens():
    token = at_failpoint.set(None)
    yield
    at_failpoint.reset(token)


def stands(day: Day) -> list[tuple[int, int]]:
    """Version and promotion sequence of each generation."""
    return [(one.primary.version, one.promotion_sequence) for one in day.tallies()]


@pytest.mark.parametrize("point", ["staging", "staged", "before-commit"])
def test_an_older_champion_never_goes_over_a_newer_one(day, point) -> None:
    def other() -> None:
        day.promote(2)
        day.score("other")

    meanwhile(point, other)
    told = day.score("held")
    assert (told["action"], told["generation"]) == ("unchanged", 1)
    assert stands(day) == [(2, 2)]
    assert {row["model_version"] for row in day.rows("drift")} == {2}


def test_a_retry_of_a_dead_run_asks_the_log(day) -> None:
    day.step("resolve", "scheduled__x")
    day.promote(2)
    day.score("other")
    assert day.score("scheduled__x")["action"] == "unchanged"
    assert stands(day) == [(2, 2)]


def test_only_a_reason_goes_over_what_is_newer(day) -> None:
    def other() -> None:
        day.promote(2)
        day.score("other")

    meanwhile("before-commit", other)
    told = day.score("held", force=True, reason="version 2 is wrong")
    assert (told["action"], told["generation"]) == ("committed", 2)
    assert stands(day) == [(2, 2), (1, 1)]
    assert day.tallies()[-1].override == "version 2 is wrong"
    assert day.score()["generation"] == 3


def test_plain_force_repeats_what_stands(day) -> None:
    meanwhile("before-commit", lambda: (day.promote(2), day.score("other")))
    told = day.score("held", force=True)
    assert told["models"] == ["champion: version 2"]
    assert stands(day) == [(2, 2), (2, 2)]


def test_another_spec_that_was_faster_is_a_conflict(tmp_path, day) -> None:
    other = Day(tmp_path, {"scoring": {"threshold": 0.9}})

    def faster() -> None:
        other._write_project()
        other.score("other")

    meanwhile("before-commit", faster)
    with pytest.raises(CommitConflictError, match="generation 1"):
        day.score("held")
    assert len(day.tallies()) == 1


def test_a_fallback_never_goes_over_the_champion(tmp_path, day) -> None:
    day.promote(2)
    day.score()
    configured = Day(tmp_path, {"scoring": FALLBACK})
    configured._write_project()
    shutil.rmtree(PackageCache(Path(configured.project.environment.storage.cache)).root)
    assert configured.score()["action"] == "unchanged"
    assert stands(day) == [(2, 2)]


@pytest.mark.parametrize("force", [False, True])
def test_a_fallback_does_not_replace_the_champion_that_was_faster(tmp_path, versions, force) -> None:
    """The package is lost on one machine, and found on another."""
    day = Day.born(tmp_path, versions, scoring=FALLBACK)
    day.ingest()
    day.gate()
    day.promote(2)
    cache = PackageCache(Path(day.project.environment.storage.cache)).root
    lost = cache / versions[2].digest
    aside = tmp_path / "aside"
    shutil.move(lost, aside)
    meanwhile("before-commit", lambda: (shutil.move(aside, lost), day.score("other")))
    told = day.score("held", force=force)
    assert (told["action"], told["rows_by_role"]) == ("unchanged", {"champion": 60})
    assert len(day.tallies()) == 1


def test_unchanged_needs_no_package(day) -> None:
    day.score()
    shutil.rmtree(PackageCache(Path(day.project.environment.storage.cache)).root)
    told = day.score("again")
    assert (told["action"], told["signals"]) == ("unchanged", len(day.rows("drift")))


def test_trace_shows_the_line_that_the_day_was_resolved_at(day) -> None:
    day.promote(2)
    day.promote(3, effective_from=NEXT)
    day.score()
    day.rollback(effective_from=NEXT)
    found = trace(day.project, "o001", DAY)
    assert (found["tally"]["promotion_sequence"], found["promotion"]["sequence"]) == (3, 2)
