"""One writer after the other: what is older never goes over what is newer, and nothing but the log decides."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from day_gate import report_day
from shared import shared
from synthetic import DAY
from writers import NEXT, NOW, Day, make_versions

from tallywright.cli.doctor import doctor
from tallywright.data.inputs.versions import input_version
from tallywright.errors import CommitConflictError, GateRefusedError, InputError
from tallywright.gates.record import day_subject, newest_report, record_report
from tallywright.lifecycle.run import run_step
from tallywright.monitoring.decisions import day_signals
from tallywright.observability import at_failpoint
from tallywright.packaging.package import PackageCache
from tallywright.records import Check, GateReport, Verdict
from tallywright.registry.promotion_log import PromotionLog, sequence_behind
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


@pytest.mark.parametrize("lost", [True, False])
def test_a_late_drift_step_leaves_the_rows_of_a_later_generation(day, lost) -> None:
    day.promote(2)
    day.score()
    if lost:
        day.lake.open("shop__drift").delete()

    def other() -> None:
        day.rollback()
        day.score("other")
        day.step("decide", "other")

    meanwhile("before-drift", other)
    told = day.step("drift", "held")
    assert told["note"] == "generation 2 stands; nothing was written about generation 1"
    assert {(row["generation"], row["model_version"]) for row in day.rows("drift")} == {(2, 1)}
    decided = day.rows("decisions")
    day.step("decide", "held")
    assert day.rows("decisions") == decided


def test_performance_is_about_the_tally_that_stands_when_it_is_written(day) -> None:
    day.score()

    def other() -> None:
        day.promote(2)
        day.score("other")
        day.step("performance", "other")

    meanwhile("before-performance", other)
    day.step("performance", "held")
    assert {(row["generation"], row["model_version"]) for row in day.rows("performance")} == {(2, 2)}


def test_a_range_that_was_held_leaves_out_what_is_outdated(day) -> None:
    """Rows of a range wait for one commit; those about a tally that was scored again meanwhile are not written."""
    held = day.context("held")
    with held.lake.batching():
        run_step(held, "score")
        day.promote(2)
        day.score("other")
    assert {(row["generation"], row["model_version"]) for row in day.rows("drift")} == {(2, 2)}
    assert sorted(row["generation"] for row in day.rows("tallies")) == [1, 2]


def test_the_newest_gate_report_is_the_one_written_last_whatever_the_clock_says(day) -> None:
    project = day.project
    lake, spec = day.lake, project.spec
    report_day(lake, spec, DAY, run_id="ahead", at=datetime(2030, 1, 1, tzinfo=UTC), verdict=Verdict.FAIL)
    with pytest.raises(GateRefusedError):
        day.score()
    report_day(lake, spec, DAY, run_id="right", at=datetime(2024, 3, 6, tzinfo=UTC))
    day.score()
    assert day_signals(lake, spec, [DAY])[0].broken == ""


def test_monitoring_asks_the_committed_tally_never_todays_spec(tmp_path, day) -> None:
    """The day was accepted as small; today's spec would refuse it, and names other roles."""
    day.score()
    rows = day.rows("drift")
    for table in ("drift", "profile"):
        day.lake.open(f"shop__{table}").delete()
    usual = pa.table({"score_date": [DAY - timedelta(days=1)], "version": [1], "rows": [6000], "fingerprint": ["x"]})
    day.lake.replace("shop__inputs", usual, slice={"score_date": DAY - timedelta(days=1)})
    stricter = Day(tmp_path, {"data": {"min_rows_share": 0.9}, "scoring": {"threshold": 0.9}})
    stricter._write_project()
    day.promote(2)
    with pytest.raises(InputError, match="of the usual"):
        stricter.score()
    stricter.step("drift")
    assert stricter.rows("drift") == rows
    stricter.step("profile")
    stricter.step("performance")
    assert day_signals(stricter.lake, stricter.project.spec, [DAY])[0].broken == ""


def test_a_clock_that_was_ahead_changes_nothing_but_its_own_time(day, heard) -> None:
    ahead = datetime(2130, 1, 1, tzinfo=UTC)
    day.promote(2, recorded_at=ahead)
    day.score()
    assert "a clock was ahead: line 2" in heard.text
    line = day.rollback()
    assert (line.sequence, line.recorded_at) == (3, NOW)
    assert "a clock has jumped: line 3" in heard.text
    found = trace(day.project, "o001", DAY)
    assert (found["promotion"]["sequence"], found["model"]["version"]) == (2, 2)
    assert day.score("again")["models"] == ["champion: version 1"]
    told = CliRunner().invoke(doctor, ["--root", str(day.root), "--env", "local", "--json"])
    checks = {row["check"]: row for row in json.loads(told.stdout)}
    assert "line 2 is recorded at 2130" in checks["clock shop"]["found"]
    assert checks["clock shop"]["verdict"] == "warn"


def test_a_tally_without_a_sequence_has_that_of_its_commit(day) -> None:
    """As manifests were before they carried one: it is fenced by what the log was when it was committed."""
    day.promote(2)
    day.score()
    (manifest,) = day.tallies()
    entries = PromotionLog(day.lake, day.project.spec).entries()
    old = manifest.model_copy(update={"promotion_sequence": None})
    assert [sequence_behind(entries, one) for one in (manifest, old)] == [2, 2]
    before = old.model_copy(update={"committed_at": NOW - timedelta(days=1)})
    assert sequence_behind(entries, before) == 2, "a clock that was behind: its model's own line was there"
    assert sequence_behind([], old) is None


def test_a_gate_report_never_goes_over_one_that_was_made_meanwhile(day) -> None:
    """The first looked before the second did: the second, by the same judges, stands; by others it is a conflict."""
    lake, spec = day.lake, day.project.spec
    pinned = input_version(lake, spec, DAY)
    report = GateReport(
        gate="day", model="shop", subject=day_subject(pinned), checks=(Check(name="rows", verdict=Verdict.PASS),)
    )
    known = newest_report(lake, spec, pinned)
    record_report(lake, spec, report, run_id="other", recorded_at=NOW)
    record_report(
        lake, spec, report, run_id="held", recorded_at=NOW,
        unless=lambda: "" if newest_report(lake, spec, pinned) == known else "judged meanwhile",
    )  # fmt: skip
    assert "held" not in {row["run_id"] for row in day.rows("gates")}
