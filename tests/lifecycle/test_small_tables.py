"""The small tables of a model stay small however many days are decided, without maintenance."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from synthetic import make_package, make_spec
from world import World, warmer

from tallywright.data.delta.lake import Lake
from tallywright.lifecycle.small_tables import MOST_FILES, keep_small
from tallywright.monitoring.decisions import decide
from tallywright.monitoring.performance import realised

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


def test_files_become_one_and_rows_stay(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path / "lake")), make_spec()
    world = World(lake, spec, make_package(tmp_path / "package"))
    manifest = world.score(FIRST)
    for number in range(MOST_FILES + 1):
        world.gate(manifest.input.model_copy(update={"fingerprint": f"{number:064x}"}), "pass")
    before = sorted(map(str, lake.read("shop__gates").to_pylist()))
    keep_small(lake, spec, now=NOW)
    assert len(lake.files("shop__gates")) == 1
    assert sorted(map(str, lake.read("shop__gates").to_pylist())) == before
    version = lake.open("shop__gates").version()
    keep_small(lake, spec, now=NOW)
    assert lake.open("shop__gates").version() == version


def test_what_left_an_old_table_is_deleted(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path / "lake")), make_spec(maintenance={"retention_days": 8, "orphan_days": 8})
    world = World(lake, spec, make_package(tmp_path / "package"))
    manifest = world.score(FIRST)
    for number in range(MOST_FILES):
        world.gate(manifest.input.model_copy(update={"fingerprint": f"{number:064x}"}), "pass")
    left = Path(lake.root, "shop__gates", "left.parquet")
    left.write_bytes(b"old")
    os.utime(left, (0, 0))
    keep_small(lake, spec, now=LATER)
    assert not left.exists()
    assert lake.read("shop__gates").num_rows == MOST_FILES


@pytest.mark.long
@pytest.mark.slow
def test_bytes_after_300_decided_days(tmp_path) -> None:
    spec = make_spec(monitoring={"min_rows": 20, "min_labels": 10})
    lake = Lake(str(tmp_path / "lake"))
    world = World(lake, spec, make_package(tmp_path / "package"))
    for number in range(300):
        day = FIRST + timedelta(days=number)
        world.watch(day, 40, change=warmer if number % 7 == 0 else None)
        world.label(day)
        realised(lake, spec, day, day + timedelta(days=3))
        decide(lake, spec, day)
        keep_small(lake, spec, now=NOW)
        if number % 50 == 49:
            assert {table: found for table, found in bounds(lake).items() if found[0] > found[1]} == {}, number
