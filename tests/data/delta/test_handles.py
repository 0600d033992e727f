"""A table's handle is opened once and looked at again; what others do is seen, what was decided on does not move."""

from __future__ import annotations

from threading import Thread

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import CommitConflictError, IntegrityError, StorageError, TableContractError


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64())})


@pytest.fixture(params=["local", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path) -> Lake:
    """On a disk, and on an object store."""
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    bucket = request.getfixturevalue("bucket")
    return Lake(f"{bucket.address}/lake", bucket.options)


def other(lake: Lake) -> Lake:
    """As another process has it."""
    return Lake(lake.root, lake.options)


def delete(lake: Lake) -> None:
    filesystem, folder = filesystem_of(lake.uri("t"), lake.options)
    filesystem.delete_dir(folder)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The addresses of the handles that are opened from here on."""
    found: list[str] = []
    init = DeltaTable.__init__

    def counted(self, table_uri, *args, **kwargs) -> None:
        found.append(str(table_uri))
        init(self, table_uri, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "__init__", counted)
    return found


def numbers(lake: Lake) -> list[int]:
    return sorted(lake.read("t")["n"].to_pylist())


def test_own_commits_and_looks_open_nothing_again(lake, opened) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    del opened[:]
    for number in range(1, 5):
        lake.replace("t", rows(number), slice={"n": number})
        assert numbers(lake) == list(range(number + 1))
        assert lake.look("t", lake.look("t").version()).version() == number + 1
    assert opened in ([], [lake.uri("t")])  # the one that creation itself opens is not kept


def test_what_others_commit_is_seen_and_does_not_move_a_handle(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    before = lake.look("t")
    other(lake).replace("t", rows(1), slice={"n": 1})
    assert (before.version(), lake.look("t").version()) == (1, 2)
    assert numbers(lake) == [0, 1]
    assert lake.read("t", version=1)["n"].to_pylist() == [0]


def test_a_handle_of_ones_own_never_moves(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    mine = lake.open("t")
    lake.replace("t", rows(1), slice={"n": 1})
    assert mine.version() == 1
    with pytest.raises(CommitConflictError):
        lake.commit(Change("t", rows(2), {"n": 2}), mine)


def test_a_table_that_was_made_again_under_its_name_is_opened_again(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    old = lake.look("t").metadata().id
    delete(lake)
    assert lake.find("t") is None
    assert not lake.exists("t")
    with pytest.raises(StorageError, match="no such table"):
        lake.look("t")
    for number in (5, 6, 7):
        other(lake).replace("t", rows(number), slice={"n": number})
    assert lake.look("t").metadata().id != old
    assert numbers(lake) == [5, 6, 7]


def test_a_table_made_again_with_as_many_versions_is_not_taken_for_the_old_one(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    lake.look("t")
    delete(lake)
    other(lake).replace("t", rows(5), slice={"n": 5})
    assert numbers(lake) == [5]


def test_a_feature_that_others_add_is_refused_at_the_next_look(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    lake.look("t")
    lake.open("t").alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    with pytest.raises(TableContractError, match="enableChangeDataFeed"):
        lake.look("t")


def test_a_held_handle_is_nobody_elses(lake) -> None:
    lake.replace("t", rows(0), slice={"n": 0})
    with lake.hold("t") as held:
        lake.replace("t", rows(1), slice={"n": 1})
        assert held.version() == 1
        assert lake.look("t") is not held
    assert lake.look("t").version() == 2


def test_threads_that_share_a_lake_lose_nothing(lake) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 5):
            lake.replace("t", rows(number), slice={"n": number})

    threads = [Thread(target=write, args=(first,)) for first in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(lake) == list(range(15))


def test_an_unreadable_table_is_not_missing(tmp_path) -> None:
    lake, log = Lake(str(tmp_path / "lake")), tmp_path / "lake" / "t" / "_delta_log"
    log.mkdir(parents=True)
    assert lake.find("t") is None  # a log without a commit is none
    (log / f"{0:020d}.json").write_text("no json\n")
    with pytest.raises(IntegrityError, match=r"0\.json of its log cannot be read"):
        lake.find("t")
