"""Retentions that a run could outlive are refused; what runs left on this machine goes when it is old."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.errors import SpecError
from tallywright.lifecycle.cleanup import CleanupCounts, clean_up
from tallywright.lifecycle.maintenance import maintain_model, model_tables
from tallywright.lifecycle.plan import Pipeline, longest_run, plan
from tallywright.lifecycle.retention import retention_problems
from tallywright.spec import Project, load_project

NOW = datetime.now(UTC)


@pytest.fixture
def project(repository, tmp_path, monkeypatch) -> Project:
    monkeypatch.setenv("TALLYWRIGHT_HOME", str(tmp_path))
    return load_project("flight_delays", root=repository)


def with_sections(repository, *overrides: str) -> Project:
    return load_project("flight_delays", root=repository, overrides=overrides)


def test_the_defaults_outlast_every_run(project) -> None:
    assert retention_problems(project.spec) == []
    longest = max(longest_run(plan(project.spec, pipeline)) for pipeline in Pipeline)
    assert longest < timedelta(days=project.spec.maintenance.orphan_days)


def test_a_retention_that_a_run_could_outlive_is_refused(repository) -> None:
    long_wait = ("registry.approval=person", "registry.approval_timeout_hours=300")
    (problem,) = retention_problems(with_sections(repository, *long_wait).spec)
    assert "maintenance.orphan_days: found 7; at least 14 days" in problem
    assert "flight_delays__train" in problem
    short = ("registry.approval=person", "maintenance.orphan_days=1", "maintenance.retention_days=1")
    assert len(retention_problems(with_sections(repository, *short).spec)) == 2
    project = with_sections(repository, *short)
    with pytest.raises(SpecError, match="at least 4 days"):
        maintain_model(project, Lake.of(project.environment), now=NOW)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("maintenance.orphan_days=31", "orphan_days 31 is more than retention_days 30"),
        ("maintenance.reference_days=29", "reference_days 29 is less than retention_days 30"),
        ("maintenance.cron=weekly", "cron of five fields"),
        ("maintenance.min_files=1", "must be at least 2"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(repository, override, message) -> None:
    with pytest.raises(SpecError, match=message):
        with_sections(repository, override)


def test_a_neighbours_tables_are_not_ours(project) -> None:
    lake = Lake.of(project.environment)
    for table in ("flight_delays__scores", "flight_delays__late__scores", "flight_delays2__scores", "flights"):
        lake.replace(table, pa.table({"n": [1]}), slice={"n": 1})
    assert model_tables(project.spec, lake) == ["flight_delays__scores"]


@pytest.fixture
def left(project) -> dict[str, Path]:
    """One of everything that a run may leave behind."""
    storage = project.environment.storage
    places = {
        "run": Path(storage.work) / "runs" / "flight_delays" / "scheduled__2013",
        "other model's run": Path(storage.work) / "runs" / "late_orders" / "scheduled__2013",
        "staged package": Path(storage.cache) / f".{'0' * 64}.abc",
        "package": Path(storage.cache) / ("0" * 64),
        "scratch": Path(storage.work) / "raw" / ".flights-abc",
        "spill": Path(storage.work) / "spill" / "block",
        "staged source": Path(storage.work) / "raw" / "flights.parquet",
    }
    for path in places.values():
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "file").write_text("x")
    return places


def swept(project, now: datetime, **options) -> CleanupCounts:
    return clean_up(project, now, retention=timedelta(days=30), orphan_age=timedelta(days=7), **options)


def test_what_is_old_goes_and_nothing_else(project, left) -> None:
    assert swept(project, NOW) == CleanupCounts(runs=0, packages=0, scratch=0)
    assert swept(project, NOW + timedelta(days=8), dry_run=True) == CleanupCounts(
        runs=0, packages=1, scratch=2, freed_bytes=3
    )
    assert all(path.exists() for path in left.values())
    assert swept(project, NOW + timedelta(days=8)) == CleanupCounts(runs=0, packages=1, scratch=2, freed_bytes=3)
    assert swept(project, NOW + timedelta(days=31)) == CleanupCounts(runs=1, packages=0, scratch=0, freed_bytes=1)
    assert {name for name, path in left.items() if path.exists()} == {"other model's run", "package", "staged source"}


def test_a_fresh_copy_of_an_old_package_is_not_old(project, left) -> None:
    """A copy brings the times of its original along."""
    old = (NOW - timedelta(days=100)).timestamp()
    for path in (left["package"], *left["package"].rglob("*")):
        os.utime(path, (old, old))
    fresh = left["package"].with_name(f".{'1' * 64}.abc")
    shutil.copytree(left["package"], fresh)
    assert fresh.stat().st_mtime == pytest.approx(old)
    swept(project, NOW + timedelta(days=1))
    assert fresh.exists()


def test_nothing_is_left_where_nothing_ever_ran(project) -> None:
    assert swept(project, NOW) == CleanupCounts(runs=0, packages=0, scratch=0)
