"""A log is made readable again so that the table can be written again, or it is left to a backup."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tallywright.data.delta.history import commits
from tallywright.data.delta.lake import Lake
from tallywright.data.upkeep.repair import rebuild_log
from tallywright.errors import IntegrityError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five commits, with a checkpoint of the newest one."""
    lake = Lake(str(tmp_path))
    for number in range(5):
        write_deltalake(lake.uri("shop__t"), pa.table({"n": [number]}), mode="append")
    lake.open("shop__t").create_checkpoint()
    return lake


def _tear(lake: Lake, version: int) -> None:
    file = Path(lake.uri("shop__t"), "_delta_log", f"{version:020d}.json")
    file.write_bytes(file.read_bytes()[:40])


def test_a_torn_newest_commit_goes_with_the_checkpoint_that_has_it(lake: Lake) -> None:
    _tear(lake, 4)
    assert rebuild_log(lake, "shop__t")
    lake = Lake(lake.root)
    assert [one["version"] for one in commits(lake, lake.open("shop__t"))] == [3, 2, 1, 0]
    write_deltalake(lake.uri("shop__t"), pa.table({"n": [9]}), mode="append")
    assert sorted(lake.read("shop__t")["n"].to_pylist()) == [0, 1, 2, 3, 9]


def test_where_the_older_log_is_gone_only_a_backup_helps(lake: Lake) -> None:
    for version in range(3):
        Path(lake.uri("shop__t"), "_delta_log", f"{version:020d}.json").unlink()
    _tear(lake, 4)
    with pytest.raises(IntegrityError, match="cannot be read, and nothing else has what it holds"):
        rebuild_log(lake, "shop__t")
    assert lake.read("shop__t").num_rows == 5


def _log(lake: Lake, name: str) -> Path:
    return Path(lake.uri("shop__t"), "_delta_log", name)


@pytest.mark.parametrize("version", [0, 2])
def test_a_commit_that_is_gone_is_named_and_no_fault_of_the_storage(lake: Lake, version: int) -> None:
    for file in _log(lake, "").glob("*checkpoint*"):
        file.unlink()
    _log(lake, f"{version:020d}.json").unlink()
    lake = Lake(lake.root)
    for ask in (lambda: lake.open("shop__t"), lambda: lake.read("shop__t"), lambda: lake.find("shop__t")):
        with pytest.raises(IntegrityError, match=f"the file {version:020d}.json of its log is gone") as error:
            ask()
        assert "restore the file from a backup" in error.value.remedy
    with pytest.raises(IntegrityError, match=f"{version:020d}.json"):
        rebuild_log(lake, "shop__t")


def test_commits_below_a_checkpoint_may_be_gone(lake: Lake) -> None:
    _log(lake, f"{0:020d}.json").unlink()
    assert Lake(lake.root).read("shop__t").num_rows == 5


def test_a_hint_at_no_checkpoint_is_named(lake: Lake) -> None:
    _log(lake, "_last_checkpoint").write_bytes(b'{"version":199,"size":200}')
    with pytest.raises(IntegrityError, match="_last_checkpoint") as error:
        Lake(lake.root).open("shop__t")
    assert error.value.remedy == "tally verify shop --repair"


@pytest.mark.parametrize("hint", [b'{"version":199,"size":200}', b"{", b"[]"])
def test_a_hint_at_no_checkpoint_is_taken_away(lake: Lake, hint: bytes) -> None:
    _log(lake, "_last_checkpoint").write_bytes(hint)
    assert rebuild_log(lake, "shop__t")
    assert not rebuild_log(lake, "shop__t")
    assert Lake(lake.root).read("shop__t").num_rows == 5
