"""Commits are told up to a handle's version and by their numbers, whoever else commits meanwhile."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from tallywright.data.delta.history import commits
from tallywright.data.delta.lake import Lake
from tallywright.errors import IntegrityError

VERSIONS = 150


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A table whose commits say their own number."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for number in range(VERSIONS):
        told = CommitProperties(custom_metadata={"number": str(number)})
        write_deltalake(lake.uri("t"), pa.table({"n": [number]}), mode="append", commit_properties=told)
    return lake


@pytest.mark.parametrize("version", [0, 1, 2, 70, VERSIONS - 1])
def test_they_are_those_of_the_handle_and_its_forebears(lake: Lake, version: int) -> None:
    found = list(commits(lake, lake.open("t", version)))
    assert [one["version"] for one in found] == list(range(version, -1, -1))
    assert all(one["number"] == str(one["version"]) for one in found)


def test_a_commit_that_lands_meanwhile_is_none_of_them(lake: Lake) -> None:
    handle = lake.open("t")
    version = handle.version()
    lines = commits(lake, handle)
    first = next(lines)
    write_deltalake(lake.uri("t"), pa.table({"n": [-1]}), mode="append")
    assert first["version"] == version
    assert next(lines)["version"] == version - 1
    assert next(commits(lake, handle)) == first


def test_it_ends_where_the_log_was_cleaned_up(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for number in range(6):
        write_deltalake(lake.uri("t"), pa.table({"n": [number]}), mode="append")
    handle = lake.open("t")
    handle.create_checkpoint()
    for number in range(3):
        (tmp_path / f"t/_delta_log/{number:020d}.json").unlink()
    assert [one["version"] for one in commits(lake, handle)] == [5, 4, 3]


def test_a_gap_is_damage(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for number in range(4):
        write_deltalake(lake.uri("t"), pa.table({"n": [number]}), mode="append")
    handle = lake.open("t")
    (tmp_path / f"t/_delta_log/{2:020d}.json").unlink()
    with pytest.raises(IntegrityError, match="of its log is gone, and older ones are there"):
        list(commits(lake, handle))


def test_a_commit_without_information_is_counted_and_a_damaged_one_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_deltalake(lake.uri("shop__t"), pa.table({"n": [1]}))
    handle = lake.open("shop__t")
    file = tmp_path / f"shop__t/_delta_log/{0:020d}.json"
    sound = file.read_text()
    file.write_text("\n".join(line for line in sound.splitlines() if "commitInfo" not in line))
    assert list(commits(lake, handle)) == [{"version": 0}]
    file.write_text(sound.replace('{"commitInfo":', '{"commitInfo":['))
    with pytest.raises(IntegrityError, match=f"shop__t: the file {file.name} of its log cannot be read"):
        list(commits(lake, handle))


def test_why_delta_is_not_asked(lake: Lake) -> None:
    """When this fails, `DeltaTable.history` numbers the commits of an older handle as they are, and may do."""
    handle = DeltaTable(lake.uri("t"), version=10)
    newest, *_ = handle.history(1)
    assert newest["version"] == 10
    assert newest.get("number") != "10"
