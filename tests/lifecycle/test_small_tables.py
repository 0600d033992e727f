"""The small tables of a model stay small however many days are decided, without maintenance."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from synthetic import make_package, make_project, make_spec
from world import World, warmer

from tallywright.data.delta.lake import MANY_FILES, Lake
from tallywright.lifecycle.context import Shared
from tallywright.lifecycle.small_tables import keep_small
from tallywright.monitoring.decisions import decide
from tallywright.monitoring.performance import realised
from tallywright.records import Verdict

FIRST = date(2024, 3, 1)
NOW = datetime(2024, 4, 1, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""When every table is older than what is kept."""
PARTITIONED = {"shop__features", "shop__labels", "shop__scores", "shop__shadow", "shop__quarantine"}


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def bounds(lake: Lake) -> dict[str, tuple[int, int]]:
    """The bytes below each small table, and how many it may have: ten times what is alive, and 5 MB."""
    found = {}
    for table in set(lake.tables()) - PARTITIONED:
        alive = sum(file.size for file in lake.files(table))
        found[table] = bytes_of(Path(lake.root, table)), 10 * alive + 5_000_000
    return found


def kept(folder: Path) -> World:
    """A world whose lake keeps its small tables small, as that of a run does."""
    lake = Lake(str(folder / "lake"))
    lake.keep_small = partial(keep_small, retention=timedelta(days=30), now=NOW)
    spec = make_spec(monitoring={"min_rows": 20, "min_labels": 10})
    return World(lake, spec, make_package(folder / "package"))


def gates(world: World, reports: int) -> None:
    manifest = world.score(FIRST)
    for number in range(reports):
        world.gate(manifest.input.model_copy(update={"fingerprint": f"{number:064x}"}), Verdict.PASS)


def test_files_become_one_and_rows_stay(tmp_path) -> None:
    world = kept(tmp_path)
    gates(world, MANY_FILES + 3)
    assert len(world.lake.files("shop__gates")) < MANY_FILES
    found = world.lake.read("shop__gates").to_pylist()
    assert sorted(row["subject"][-2:] for row in found) == [f"{number:02x}" for number in range(MANY_FILES + 3)]


def test_what_left_an_old_table_is_deleted(tmp_path) -> None:
    world = kept(tmp_path)
    world.lake.keep_small = partial(keep_small, retention=timedelta(days=30), now=LATER)
    gates(world, 1)
    left = Path(world.lake.root, "shop__gates", "left.parquet")
    left.write_bytes(b"old")
    os.utime(left, (0, 0))
    gates(world, MANY_FILES + 8)
    assert not left.exists()
    assert world.lake.read("shop__gates").num_rows == MANY_FILES + 8


def test_a_table_that_cannot_be_kept_small_is_a_warning(tmp_path, heard) -> None:
    world = kept(tmp_path)
    gates(world, 2)
    keep_small(world.lake, "shop__nothing", retention=timedelta(days=30), now=NOW)
    assert "shop__nothing is left as it is" in heard.text


def test_the_lake_of_a_run_keeps_its_tables_small(tmp_path) -> None:
    assert Shared(make_project(tmp_path)).lake.keep_small is not None


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bytes_after_300_decided_days(tmp_path) -> None:
    world = kept(tmp_path)
    for number in range(300):
        day = FIRST + timedelta(days=number)
        world.watch(day, 40, change=warmer if number % 7 == 0 else None)
        world.label(day)
        realised(world.lake, world.spec, day, day + timedelta(days=3))
        decide(world.lake, world.spec, day)
        if number % 50 == 49:
            found = bounds(world.lake)
            assert {table: one for table, one in found.items() if one[0] > one[1]} == {}, number
