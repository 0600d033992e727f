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
