from __future__ import annotations

import json
import math
import multiprocessing
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.fingerprint import digest
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import CommitConflictError, IntegrityError, StorageError, TableContractError

DAY = date(2024, 1, 1)
NAMES = ["score_date", "k", "x"]


def rows(day: date, *keys: str, x: float | None = 1.0) -> pa.Table:
    return pa.table(
        {"score_date": pa.array([day] * len(keys), pa.date32()), "k": pa.array(keys, pa.string()),
         "x": pa.array([x] * len(keys), pa.float64())}
    )  # fmt: skip


def put(lake: Lake, day: date, *keys: str, **more: object) -> int:
    return lake.replace("t", rows(day, *keys), slice={"score_date": day}, partition_by=["score_date"], **more)


def _size(path: str, lake: Lake) -> int:
    filesystem, inner = filesystem_of(path, lake.options)
    return filesystem.get_file_info(inner).size


def _write(path: str, lake: Lake, content: bytes) -> None:
    filesystem, inner = filesystem_of(path, lake.options)
    with filesystem.open_output_stream(inner) as stream:
        stream.write(content)


def keys(lake: Lake, **where: object) -> list[str]:
    return sorted(lake.read("t", where=where, columns=["k"])["k"].to_pylist())


@pytest.fixture
def local_lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(params=["local", "s3"])
def lake(request: pytest.FixtureRequest, local_lake: Lake) -> Lake:
    """The same on a disk and on an object store."""
    if request.param == "local":
        return local_lake
    bucket = request.getfixturevalue("bucket")
    return Lake(f"{bucket.address}/some/lake", bucket.options)


def written_if_changed(lake: Lake, table: str, data: pa.Table) -> int | None:
    """The version of the commit; None where the slice holds these rows already."""
    change = Change(table, data, {"score_date": DAY})
    return None if lake.is_held(change) else lake.write(change)


def test_replaces_one_date_and_leaves_the_others(lake):
    other = date(2024, 1, 2)
    put(lake, DAY, "a", "b")
    put(lake, other, "c")
    assert put(lake, DAY, "d") == 3
    assert keys(lake) == ["c", "d"]
    assert keys(lake, score_date=DAY) == ["d"]
    assert keys(lake, k="c") == ["c"]
    assert lake.read("t", where={"score_date": DAY}, version=1).num_rows == 2
    assert [(file.rows, file.day) for file in lake.files("t", day=other)] == [(1, other)]
    assert all(_size(file.path, lake) == file.size for file in lake.files("t"))
    assert lake.tables() == ["t"]


def test_settling_commits_only_what_is_new(lake):
    put(lake, DAY, "a", "b")
    assert written_if_changed(lake, "t", rows(DAY, "b", "a")) is None
    assert written_if_changed(lake, "t", rows(DAY, "a", "b", x=None)) == 2
    wider = rows(DAY, "a", "b", x=None).append_column("note", pa.array(["n", None]))
    assert written_if_changed(lake, "t", wider) == 3
    assert written_if_changed(lake, "t", wider) is None
    assert written_if_changed(lake, "fresh", rows(DAY, "a")) == 1


def test_an_empty_replacement_empties_the_slice(lake):
    put(lake, DAY, "a")
    put(lake, DAY)
    assert keys(lake) == []
    assert lake.read("t").column_names == ["k", "x", "score_date"] or lake.read("t").num_rows == 0


def test_slices_of_an_unpartitioned_table_by_text(lake):
    awkward = ["it's", 'a "quote"', "100%", "", "ü" * 60, "a\nb"]
    for number, name in enumerate(awkward):
        lake.replace("t", pa.table({"name": [name], "n": [number]}), slice={"name": name})
    lake.replace("t", pa.table({"name": ["it's"], "n": [99]}), slice={"name": "it's"})
    assert lake.read("t").num_rows == len(awkward)
    for number, name in enumerate(awkward[1:], 1):
        assert lake.read("t", where={"name": name}, columns=["n"])["n"].to_pylist() == [number]
    assert lake.read("t", where={"n": 99, "name": "it's"}).num_rows == 1


def test_text_partitions_with_special_characters(lake):
    for name in ["a b", "c/d", "e=f", "g%20h", "ü"]:
        lake.replace("t", pa.table({"name": [name], "n": [1]}), slice={"name": name}, partition_by=["name"])
        assert lake.read("t", where={"name": name}).num_rows == 1
    assert lake.read("t").num_rows == 5


def test_new_columns_are_null_in_older_rows_and_types_never_change(lake):
    put(lake, DAY, "a")
    day = date(2024, 1, 2)
    wider = rows(day, "b").append_column("y", pa.array([7], pa.int32()))
    lake.replace("t", wider, slice={"score_date": day})
    put(lake, date(2024, 1, 3), "c")
    assert lake.read("t", columns=["k", "y"]).sort_by("k")["y"].to_pylist() == [None, 7, None]
    with pytest.raises(TableContractError, match="column y would change from int32 to string"):
        lake.replace("t", rows(day, "b").append_column("y", pa.array(["7"])), slice={"score_date": day})
    assert lake.open("t").version() == 3


def test_every_value_comes_back(lake):
    moment = datetime(2024, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
    data = pa.table(
        {
            "score_date": pa.array([DAY] * 3, pa.date32()),
            "x": [math.nan, math.inf, None],
            "i": pa.array([2**31 - 1, -(2**31), None], pa.int32()),
            "t": pa.array([moment, None, moment], pa.timestamp("us", "UTC")),
            "d": pa.array(["a", None, ""]).dictionary_encode(),
            "l": pa.array(["x" * 100, "", None], pa.large_string()),
            "v": pa.array([[1.0], [], None], pa.list_(pa.float32())),
        }
    )
    lake.replace("t", data, slice={"score_date": DAY}, partition_by=["score_date"])
    read = lake.read("t", columns=data.column_names)
    assert digest(read, data.column_names) == digest(data, data.column_names)
    assert read["l"].to_pylist() == data["l"].to_pylist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (rows(date(2024, 1, 2), "a"), "not in the slice score_date = 2024-01-01"),
        (rows(DAY, "a").append_column("t", pa.array([datetime(2024, 1, 1)])), "timestamp without a zone"),  # noqa: DTZ001
        (rows(DAY, "a").append_column("n", pa.nulls(1)), "column n has no type"),
        (pa.table({"k": ["a"]}), "no column score_date"),
    ],
)
def test_refuses_rows_that_do_not_fit(lake, data, message):
    with pytest.raises(TableContractError, match=message):
        lake.replace("t", data, slice={"score_date": DAY})


def test_a_table_or_column_that_is_not_there(lake):
    assert lake.tables() == []
    assert not lake.exists("t")
    for call in (lambda: lake.open("t"), lambda: lake.read("t"), lambda: lake.files("t")):
        with pytest.raises(StorageError, match="no such table"):
            call()
    put(lake, DAY, "a")
    with pytest.raises(TableContractError, match="no column nope"):
        lake.read("t", columns=["nope"])
    with pytest.raises(StorageError, match="version 99"):
        lake.open("t", 99)


def test_a_commit_on_an_old_handle_is_refused(lake):
    change = Change("t", rows(DAY, "a"), {"score_date": DAY}, ("score_date",), transaction="app")
    old = lake.handle(change)
    stale = lake.open("t")
    assert lake.commit(change, old) == 1
    assert lake.open("t").transaction_version("app") == 1
    with pytest.raises(CommitConflictError):
        lake.commit(Change("t", rows(date(2024, 1, 2), "b"), {"score_date": date(2024, 1, 2)}), stale)
    assert keys(lake) == ["a"]


def test_message_is_kept_in_the_commit(lake):
    put(lake, DAY, "a", message={"userMetadata": "hello"})
    assert lake.open("t").history(1)[0]["userMetadata"] == "hello"


def _write_many(root: str, options: dict[str, str], writer: int) -> None:
    lake = Lake(root, options)
    for number in range(6):
        day = date(2024, 1, 1 + (number % 2))
        put(lake, day, *[f"{writer}-{number}-{place}" for place in range(3)])


def test_many_writers_never_mix_or_double_a_slice(lake):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(lake.root, lake.options, writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert lake.open("t").version() == 12
    for day in (DAY, date(2024, 1, 2)):
        found = keys(lake, score_date=day)
        assert len(found) == 3
        assert len({key.rsplit("-", 1)[0] for key in found}) == 1


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 3), st.lists(st.sampled_from("abcd"), max_size=3)), min_size=1, max_size=8))
def test_the_table_is_what_a_dictionary_of_dates_would_be(tmp_path_factory, writes):
    lake, expected = Lake(str(tmp_path_factory.mktemp("lake"))), {}
    for number, found in writes:
        day = date(2024, 1, number)
        put(lake, day, *found)
        expected[day] = sorted(found)
        if number == 3:
            lake.open("t").optimize.compact()
    assert {day: keys(lake, score_date=day) for day in expected} == expected


_FULL = """
import resource, sys, datetime, pyarrow as pa
from tallywright.data.delta.lake import Lake
from tallywright.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
day = datetime.date(2024, 1, 1)
data = pa.table({"score_date": pa.array([day] * 50000, pa.date32()), "k": [f"{n * 7919}" for n in range(50000)]})
try:
    Lake(sys.argv[1]).replace("t", data, slice={"score_date": day}, partition_by=["score_date"])
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("limit", [100, 30_000])
def test_a_full_disk_is_a_storage_error_and_changes_nothing(local_lake, limit):
    lake = local_lake
    put(lake, DAY, "a")
    done = subprocess.run(
        [sys.executable, "-c", _FULL, lake.root, str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == StorageError.exit_code, done.stdout + done.stderr
    assert "writing" in done.stdout
    assert keys(lake) == ["a"]


def test_a_lake_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file" / "lake", Path("/proc/nowhere/lake")):
        with pytest.raises(StorageError, match="lake"):
            put(Lake(str(root)), DAY, "a")


def test_a_missing_or_damaged_file_is_named(lake):
    put(lake, DAY, "a")
    path = lake.files("t")[0].path
    _write(path, lake, b"not parquet")
    with pytest.raises(IntegrityError, match="2024-01-01: it cannot be read"):
        lake.read("t")
    filesystem, inner = filesystem_of(path, lake.options)
    filesystem.delete_file(inner)
    with pytest.raises(IntegrityError, match="2024-01-01: it is gone"):
        lake.read("t")


def test_a_file_without_statistics_is_counted(lake):
    put(lake, DAY, "a", "b")
    log = f"{lake.uri('t')}/_delta_log/{1:020}.json"
    filesystem, inner = filesystem_of(log, lake.options)
    with filesystem.open_input_stream(inner) as stream:
        lines = [json.loads(line) for line in stream.read().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    _write(log, lake, "\n".join(json.dumps(line) for line in lines).encode())
    assert [file.rows for file in lake.files("t")] == [2]
    assert lake.open("t").version() == 1


def test_what_was_forgotten_is_opened_again(tmp_path) -> None:
    kept = Lake(str(tmp_path / "lake"))
    kept.replace(
        "shop__x", pa.table({"score_date": [date(2024, 1, 1)], "n": [1]}), slice={"score_date": date(2024, 1, 1)}
    )
    handle = kept.look("shop__x")
    with kept.hold("shop__x") as lent:
        kept.forget()
        assert kept.look("shop__x") is not lent
    kept.forget()
    assert kept.look("shop__x") is not handle
    assert kept.read("shop__x").num_rows == 1
