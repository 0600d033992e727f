"""Maintenance beside runs that ingest and score, and maintenance that is killed: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from synthetic import DAY, make_package, make_spec, read_scores

from tallywright.data.delta import replacing
from tallywright.data.delta.lake import Lake
from tallywright.data.fingerprint import digest
from tallywright.data.upkeep.maintenance import TableRules, maintain_table
from tallywright.scoring import prepare
from tallywright.scoring.commit.manifests import manifests, recorded_tallies

from .maintenance_driver import ROWS, work

DRIVER = Path(__file__).parent / "maintenance_driver.py"
DAYS = [DAY + timedelta(days=offset) for offset in range(3)]
ROUNDS = 6
LONG_AGO = datetime.now(UTC) - timedelta(days=100)


@pytest.fixture(autouse=True)
def _many_small_files(monkeypatch) -> None:
    """`work` sets these for a process of its own; here they are put back."""
    monkeypatch.setattr(replacing, "_ROW_GROUP", replacing._ROW_GROUP)
    monkeypatch.setattr(prepare, "plan_splits", prepare.plan_splits)


def worked(root: Path, days: list[date], rounds: int) -> Lake:
    """A world in which nobody disturbs anybody."""
    root.mkdir()
    make_package(root / "package")
    for day in days:
        work(root, day, rounds)
    return Lake(str(root / "lake"))


def age(lake: Lake) -> None:
    """All that there is was written and removed 100 days ago."""
    moment = LONG_AGO.timestamp()
    root = Path(lake.root)
    for path in root.glob("*/_delta_log/*.json"):
        path.write_text(
            re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{int(moment * 1000)}', path.read_text())
        )
    for path in root.rglob("*.parquet"):
        os.utime(path, (moment, moment))


def content(lake: Lake, day: date) -> tuple[int, str]:
    """A day's rows but for the version of the input, which other days' commits move."""
    rows = read_scores(lake, make_spec(), day).drop_columns(["input_version"])
    return rows.num_rows, digest(rows, rows.column_names).hex


def tallies(lake: Lake) -> list[tuple]:
    same = ("score_date", "generation", "reason", "rows", "key_digest", "profile_digest")
    found = (tally.manifest for tally in recorded_tallies(lake, make_spec()))
    return sorted((*(getattr(one, name) for name in same), one.input.fingerprint) for one in found)


def profiles(lake: Lake) -> list[dict]:
    return lake.read("shop__profile").sort_by([("score_date", "ascending"), ("generation", "ascending")]).to_pylist()


@pytest.mark.long
@pytest.mark.slow
def test_two_maintainers_beside_runs_disturb_nothing(start, tmp_path) -> None:
    calm, busy = worked(tmp_path / "calm", DAYS, 2), worked(tmp_path / "busy", DAYS, 2)
    for day in DAYS:
        work(tmp_path / "calm", day, ROUNDS)
    age(busy)
    orphan = Path(busy.uri("shop__scores")) / f"score_date={DAY}" / "part-killed.parquet"
    orphan.write_bytes(b"killed")
    os.utime(orphan, (LONG_AGO.timestamp(),) * 2)
    root = tmp_path / "busy"

    reader = start("read", root, root / "stop", root / "seen.json").ready().go()
    maintainers = [start("maintain", root, root / f"done-{n}.json", script=DRIVER) for n in range(2)]
    workers = [start("work", root, "--day", day, "--rounds", ROUNDS, script=DRIVER) for day in DAYS]
    for driver in [driver.ready() for driver in (*maintainers, *workers)]:
        driver.go()
    ends = [driver.end() for driver in workers]
    (root / "stop").touch()
    ends += [driver.end() for driver in (*maintainers, reader)]
    assert [code for code, _, _ in ends] == [0] * 6, ends
    seen = {int(state.split()[0]) for state in json.loads((root / "seen.json").read_text())["seen"]}
    assert seen <= {ROWS + number for number in range(ROUNDS)}

    done = [json.loads((root / f"done-{n}.json").read_text()) for n in range(2)]
    assert all(one["runs"] > 1 for one in done)
    compacted, deleted, orphans = (
        sum(one.get(name, 0) for one in done) for name in ("compacted", "deleted", "orphans")
    )
    assert compacted > 10
    assert deleted > 0
    assert orphans == 1
    assert [content(busy, day) for day in DAYS] == [content(calm, day) for day in DAYS]
    assert [one.generation for one in manifests(busy, make_spec())] == [2 + ROUNDS] * len(DAYS)
    assert tallies(busy) == tallies(calm)
    assert profiles(busy) == profiles(calm)
    assert all(table_is_whole(busy, table) for table in busy.tables())


def table_is_whole(lake: Lake, table: str) -> bool:
    files = lake.files(table)
    return all(Path(file.path).stat().st_size == file.size for file in files) and lake.read(table).num_rows >= 0


@pytest.mark.slow
@pytest.mark.parametrize("point", ["compaction-staged"])
def test_a_maintainer_that_is_killed_leaves_an_orphan_and_the_next_one_takes_it(start, tmp_path, point) -> None:
    lake = worked(tmp_path / "world", DAYS[:1], 2)
    before = content(lake, DAY)
    root = tmp_path / "world"
    victim = start("maintain", root, root / "out", "--once", script=DRIVER, TALLYWRIGHT_KILL_AT=point).ready().go()
    assert victim.process.wait(timeout=60) == -signal.SIGKILL
    assert content(lake, DAY) == before
    soon, later = datetime.now(UTC), datetime.now(UTC) + timedelta(days=8)
    reports = [maintain_table(lake, table, rules(now)) for now in (soon, later) for table in lake.tables()]
    assert sum(report.young_orphans for report in reports) == 1
    assert sum(report.orphans for report in reports) == 1
    assert sum(report.compacted for report in reports) > 1
    assert content(lake, DAY) == before


def rules(now: datetime) -> TableRules:
    return TableRules(now, timedelta(days=30), timedelta(days=7), min_files=2, keep={})
