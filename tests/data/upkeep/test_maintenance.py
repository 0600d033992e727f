"""VACUUM and orphans: what is referred to stays readable, what may yet be committed stays, the rest goes."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties
from deltalake.transaction import AddAction
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.delta.handles import LOG_RETENTION, REMOVED_RETENTION
from tallywright.data.delta.lake import Lake
from tallywright.data.upkeep.maintenance import TableRules, maintain_table, ranges
from tallywright.data.upkeep.table_folder import RUNS, TableFolder
from tallywright.errors import IntegrityError, StorageError, TableContractError

DAY = date(2024, 1, 1)
OTHER = date(2024, 1, 2)
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=100)
EAGER = TableRules(
    now=NOW + timedelta(days=1), retention=timedelta(0), orphan_age=timedelta(days=7), min_files=2, keep={}
)
"""Deletes at once what has left a table: a retention that no spec can ask for."""
CALM = replace(EAGER, retention=timedelta(days=30))


@pytest.fixture(params=["local", "store"])
def lake(tmp_path: Path, request) -> Lake:
    root = f"{tmp_path}/lake"
    return Lake(root if request.param == "local" else f"file://{root}")


def put(lake: Lake, day: date, *keys: str) -> int:
    data = pa.table({"score_date": pa.array([day] * len(keys), pa.date32()), "k": pa.array(keys, pa.string())})
    return lake.replace("t", data, slice={"score_date": day}, partition_by=["score_date"])


def folder(lake: Lake) -> Path:
    return Path(lake.uri("t").removeprefix("file://"))


def keys(lake: Lake, version: int | None = None) -> list[str]:
    return sorted(lake.read("t", columns=["k"], version=version)["k"].to_pylist())


def parquet(lake: Lake) -> set[str]:
    return {
        str(path.relative_to(folder(lake))) for path in folder(lake).rglob("*.parquet") if "_delta" not in str(path)
    }


def orphan(lake: Lake, name: str, age: timedelta) -> Path:
    path = folder(lake) / f"score_date={DAY}" / name
    path.write_bytes(b"x" * 10)
    moment = (EAGER.now - age).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_kept_versions_stay_and_only_what_nobody_needs_goes(lake):
    versions = [put(lake, DAY, f"a{number}") for number in range(5)]
    report = maintain_table(lake, "t", replace(EAGER, keep={versions[1]: frozenset({"tally"})}))
    assert (report.files, report.deleted, report.kept) == (1, 3, {"tally": str(versions[1])})
    assert report.deleted_bytes > 0
    assert (keys(lake), keys(lake, versions[1])) == (["a4"], ["a1"])
    assert len(parquet(lake)) == 2
    for gone in (versions[0], versions[2], versions[3]):
        with pytest.raises(IntegrityError):
            keys(lake, gone)


def test_a_version_from_before_a_compaction_stays_readable(lake):
    put(lake, OTHER, "z")
    for number in range(3):
        data = pa.table({"score_date": pa.array([DAY], pa.date32()), "k": [f"a{number}"]})
        lake.replace("t", data, slice={"k": f"a{number}"})
    pinned = lake.open("t").version()
    kept = parquet(lake)
    report = maintain_table(lake, "t", replace(EAGER, keep={pinned: frozenset({"tally", "input"})}))
    assert (report.compacted, report.compacted_into, report.deleted) == (3, 1, 0)
    assert report.kept == {"tally": str(pinned), "input": str(pinned)}
    assert keys(lake) == keys(lake, pinned) == ["a0", "a1", "a2", "z"]
    assert kept < parquet(lake)
    assert maintain_table(lake, "t", EAGER).deleted == 3
    assert keys(lake) == ["a0", "a1", "a2", "z"]
    with pytest.raises(IntegrityError):
        keys(lake, pinned)


def test_within_the_retention_nothing_goes(lake):
    versions = [put(lake, DAY, f"a{number}") for number in range(3)]
    maintain_table(lake, "t", CALM)
    before = lake.open("t").version()
    report = maintain_table(lake, "t", CALM)
    assert (report.deleted, lake.open("t").version()) == (0, before)
    assert [keys(lake, version) for version in versions] == [["a0"], ["a1"], ["a2"]]


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_old_file_that_was_removed_lately_stays_although_a_checkpoint_came(lake, forgotten):
    """Removed ten days ago: longer than Delta remembers by itself, shorter than the retention."""
    put(lake, DAY, "a")
    removed = put(lake, DAY, "b") - 1
    if not forgotten:
        maintain_table(lake, "t", CALM)
    age_removals(lake, timedelta(days=10))
    lake.open("t").create_checkpoint()
    assert maintain_table(lake, "t", CALM).deleted == (1 if forgotten else 0)
    if not forgotten:
        assert keys(lake, removed) == ["a"]


def age_removals(lake: Lake, age: timedelta) -> None:
    """Turns the clock forward: everything is a year old, and was removed so long ago."""
    moment = int((NOW - age).timestamp() * 1000)
    for path in (folder(lake) / "_delta_log").glob("*.json"):
        path.write_text(re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{moment}', path.read_text()))
    for path in folder(lake).rglob("*.parquet"):
        os.utime(path, ((NOW - timedelta(days=365)).timestamp(),) * 2)


def test_orphans_go_when_they_are_old_and_young_ones_stay(lake):
    put(lake, DAY, "a")
    old = orphan(lake, "part-killed.parquet", timedelta(days=8))
    young = orphan(lake, "part-running.parquet", timedelta(days=6))
    removed = put(lake, DAY, "b") - 1
    report = maintain_table(lake, "t", CALM)
    assert (report.orphans, report.orphan_bytes, report.young_orphans) == (1, 10, 1)
    assert not old.exists()
    assert young.exists()
    assert keys(lake, removed) == ["a"]


def test_what_workers_told_a_driver_that_died_goes_as_an_orphan_does(lake):
    put(lake, DAY, "a")
    dead, alive = (folder(lake) / RUNS / name for name in ("dead", "alive"))
    for run, age in ((dead, timedelta(days=8)), (alive, timedelta(hours=1))):
        run.mkdir(parents=True)
        for name in ("split-0.json", "split-1.json"):
            (run / name).write_text("{}")
            os.utime(run / name, ((EAGER.now - age).timestamp(),) * 2)
    report = maintain_table(lake, "t", CALM)
    assert (report.orphans, report.orphan_bytes, report.young_orphans) == (2, 4, 2)
    assert not dead.exists()
    assert len(list(alive.iterdir())) == 2


def test_old_parts_that_a_commit_names_are_no_orphans(lake):
    """A part that was staged for long, and committed a moment ago."""
    put(lake, DAY, "a")
    handle = lake.open("t")
    path = orphan(lake, "part-slow.parquet", timedelta(days=8))
    path.write_bytes((folder(lake) / next(iter(parquet(lake) - {f"score_date={DAY}/part-slow.parquet"}))).read_bytes())
    os.utime(path, (LONG_AGO.timestamp(),) * 2)
    action = AddAction(f"score_date={DAY}/part-slow.parquet", path.stat().st_size, {"score_date": str(DAY)},
                       0, data_change=True, stats='{"numRecords":1}')  # fmt: skip
    handle.create_write_transaction([action], "append", handle.schema(), ["score_date"],
                                    commit_properties=CommitProperties(max_commit_retries=0))  # fmt: skip
    assert maintain_table(lake, "t", replace(CALM, min_files=9)).orphans == 0
    assert keys(lake) == ["a", "a"]


def test_what_is_hidden_or_no_data_is_nobodys_orphan(lake):
    put(lake, DAY, "a")
    for name in (f"score_date={DAY}/_staged.parquet", "_temporary/x.parquet", ".hidden/y.parquet", "notes.txt"):
        path = folder(lake) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        os.utime(path, (LONG_AGO.timestamp(),) * 2)
    report = maintain_table(lake, "t", replace(CALM, retention=timedelta(days=365)))
    assert (report.orphans, report.young_orphans) == (0, 0)
    assert len(list(folder(lake).rglob("*.*"))) >= 4


def test_a_dry_run_says_the_same_and_changes_nothing(lake):
    versions = [put(lake, DAY, f"a{number}") for number in range(3)]
    for number in range(3):
        put(lake, OTHER, f"z{number}")
    lake.open("t").optimize.compact()
    orphan(lake, "part-killed.parquet", timedelta(days=8))
    rules = replace(EAGER, keep={versions[0]: frozenset({"model"})}, long_log=True)
    before, files = lake.open("t").version(), parquet(lake)
    dry = maintain_table(lake, "t", replace(rules, dry_run=True))
    assert (lake.open("t").version(), parquet(lake)) == (before, files)
    wet = maintain_table(lake, "t", rules)
    assert dry == wet
    assert (wet.deleted, wet.orphans) == (3, 1)


def test_references_whose_log_is_gone_are_told_and_block_nothing(lake):
    versions = [put(lake, DAY, f"a{number}") for number in range(6)]
    lake.open("t").create_checkpoint()
    for number in range(6):
        (folder(lake) / "_delta_log" / f"{number:020d}.json").unlink()
    rules = replace(EAGER, keep=dict.fromkeys([*versions, 99], frozenset({"tally"})))
    report = maintain_table(lake, "t", rules)
    assert (report.lost, report.kept["tally"]) == ("1-5, 99", "6")
    assert keys(lake) == ["a5"]


def test_the_log_of_tables_with_pinned_versions_is_kept(lake):
    put(lake, DAY, "a")
    identity = lake.open("t").metadata().id
    maintain_table(lake, "t", replace(CALM, long_log=True))
    assert lake.open("t").metadata().configuration[LOG_RETENTION] == "interval 36500 days"
    assert lake.open("t").metadata().id == identity
    version = lake.open("t").version()
    maintain_table(lake, "t", replace(CALM, long_log=True))
    assert lake.open("t").version() == version


def test_the_log_is_never_forgotten_before_what_it_removed(lake):
    put(lake, DAY, "a")
    maintain_table(lake, "t", CALM)
    assert LOG_RETENTION not in lake.open("t").metadata().configuration
    maintain_table(lake, "t", replace(CALM, retention=timedelta(days=60)))
    found = lake.open("t").metadata().configuration
    assert found[LOG_RETENTION] == found[REMOVED_RETENTION] == "interval 60 days"


@pytest.mark.parametrize("long_log", [True, False])
def test_without_the_long_log_old_versions_cannot_be_opened(lake, long_log):
    """What delta-rs' own cleanup does after 30 days: the reason for the property."""
    first = put(lake, DAY, "a")
    if long_log:
        maintain_table(lake, "t", replace(CALM, long_log=True))
    for _ in range(2):
        for path in (folder(lake) / "_delta_log").iterdir():
            os.utime(path, (LONG_AGO.timestamp(),) * 2)
        for number in range(21):
            put(lake, OTHER, str(number))
    if long_log:
        assert keys(lake, first) == ["a"]
    else:
        with pytest.raises(StorageError):
            lake.open("t", first)
    assert TableFolder(lake.uri("t"), {}).oldest_version() > 0 or long_log


def test_a_long_log_gets_a_checkpoint(lake):
    put(lake, DAY, "a")
    lake.open("t").alter.set_table_properties({"delta.checkpointInterval": "1000"})
    for number in range(19):
        put(lake, DAY, str(number))
    rules = replace(CALM, min_files=99)
    assert maintain_table(lake, "t", rules).checkpoint
    assert not maintain_table(lake, "t", rules).checkpoint
    assert TableFolder(lake.uri("t"), {}).last_checkpoint() == lake.open("t").version()
    assert keys(lake) == ["18"]


def test_a_real_object_store_is_maintained_too(bucket):
    lake = Lake(f"{bucket.address}/lake", bucket.options)
    put(lake, OTHER, "z")
    for number in range(3):
        data = pa.table({"score_date": pa.array([DAY], pa.date32()), "k": [f"a{number}"]})
        lake.replace("t", data, slice={"k": f"a{number}"})
    pinned = lake.open("t").version()
    for number in range(2):
        put(lake, OTHER, f"y{number}")
    files = TableFolder(lake.uri("t"), lake.options)
    with files.create(f"score_date={DAY}/part-killed.parquet") as stream:
        stream.write(b"killed")
    rules = replace(EAGER, keep={pinned: frozenset({"tally"})}, long_log=True)
    dry = maintain_table(lake, "t", replace(CALM, dry_run=True))
    assert (dry.compacted, dry.deleted, dry.orphans, dry.young_orphans) == (3, 0, 0, 1)
    late = maintain_table(lake, "t", replace(rules, now=NOW + timedelta(days=8)))
    assert (late.compacted, late.compacted_into, late.deleted, late.orphans) == (3, 1, 1, 1)
    assert keys(lake) == ["a0", "a1", "a2", "y1"]
    assert keys(lake, pinned) == ["a0", "a1", "a2", "z"]
    named = {file.path for file in files.data_files()}
    assert len(named) == 6  # one compacted and one of the other date now; three and one that are kept
    assert files.delete([file for file in files.data_files() if "missing" in file.path]) == []
    assert maintain_table(lake, "t", EAGER).deleted == 4
    assert keys(lake) == ["a0", "a1", "a2", "y1"]


def test_an_empty_table_is_maintained(lake):
    put(lake, DAY)
    report = maintain_table(lake, "t", EAGER)
    assert (report.files, report.bytes, report.compacted, report.deleted) == (0, 0, 0, 0)


def test_a_table_that_breaks_the_contract_is_not_touched(lake):
    put(lake, DAY, "a")
    lake.open("t").alter.set_table_properties({"delta.setTransactionRetentionDuration": "interval 1 day"})
    with pytest.raises(TableContractError):
        maintain_table(lake, "t", EAGER)


@given(st.sets(st.integers(0, 60)))
def test_ranges_say_which_numbers(numbers):
    text = ranges(numbers)
    shown, _, rest = text.partition(", and ")
    parts = [part.split("-") for part in shown.split(", ") if part]
    found = {number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)}
    assert found <= numbers
    assert found == numbers or rest
