"""Compaction changes files and nothing else, and never wins against a writer it has not seen."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType
from deltalake.transaction import CommitProperties
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.fingerprint import digest
from tallywright.data.upkeep import compaction
from tallywright.data.upkeep.compaction import Compaction, compact, live_files
from tallywright.errors import StorageError, TableContractError

DAY = date(2024, 1, 1)
OTHER = date(2024, 1, 2)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def rows(day: date, *keys: str) -> pa.Table:
    return pa.table({"score_date": pa.array([day] * len(keys), pa.date32()), "k": pa.array(keys, pa.string())})


def scatter(lake: Lake, day: date, *keys: str, table: str = "t") -> None:
    """A date as a job with many workers leaves it: a file a key."""
    lake.replace(table, rows(day), slice={"score_date": day}, partition_by=["score_date"])
    for key in keys:
        write_deltalake(lake.uri(table), rows(day, key), mode="append")


def keys(lake: Lake, day: date) -> list[str]:
    return lake.read("t", where={"score_date": day}, columns=["k"])["k"].to_pylist()


def last_commit(lake: Lake, table: str = "t") -> list[dict]:
    log = Path(lake.uri(table)) / "_delta_log" / f"{lake.open(table).version():020d}.json"
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_only_dates_with_many_small_files_are_rewritten_and_their_rows_keep_their_order(lake):
    scatter(lake, DAY, *"abcd")
    scatter(lake, OTHER, *"xy")
    before = keys(lake, DAY)
    assert compact(lake, "t", min_files=4, dry_run=True) == Compaction(4, 1, 0)
    assert len(lake.files("t")) == 6
    assert compact(lake, "t", min_files=4) == Compaction(4, 1, 0)
    assert [file.rows for file in lake.files("t", day=DAY)] == [4]
    assert len(lake.files("t", day=OTHER)) == 2
    assert keys(lake, DAY) == before
    version = lake.open("t").version()
    assert compact(lake, "t", min_files=4) == Compaction()
    assert lake.open("t").version() == version


def test_the_commit_says_that_no_data_changed(lake):
    scatter(lake, DAY, *"abc")
    compact(lake, "t", min_files=2)
    info, *actions = last_commit(lake)
    assert info["commitInfo"]["tallywright.maintenance"] == "compaction"
    assert [next(iter(action)) for action in actions] == ["add", "remove", "remove", "remove"]
    assert {next(iter(action.values()))["dataChange"] for action in actions} == {False}


def test_app_transactions_and_the_schema_stay(lake):
    scatter(lake, DAY, *"abc")
    properties = CommitProperties(app_transactions=[Transaction("app", 7)])
    write_deltalake(lake.uri("t"), rows(DAY, "d"), mode="append", commit_properties=properties)
    schema = lake.open("t").schema()
    compact(lake, "t", min_files=2)
    assert lake.open("t").transaction_version("app") == 7
    assert lake.open("t").schema() == schema


def test_an_undated_table_is_one_set(lake):
    for number in range(5):
        lake.replace("t", pa.table({"n": [number], "score_date": [DAY]}), slice={"n": number})
    assert compact(lake, "t", min_files=5) == Compaction(5, 1, 0)
    assert lake.read("t", where={"n": 3}).to_pylist() == [{"n": 3, "score_date": DAY}]
    lake.replace("t", pa.table({"n": [3], "score_date": [OTHER], "m": ["x"]}), slice={"n": 3})
    assert lake.read("t").sort_by("n").to_pylist()[2:4] == [
        {"n": 2, "score_date": DAY, "m": None}, {"n": 3, "score_date": OTHER, "m": "x"}
    ]  # fmt: skip


def test_tables_of_other_partitions_are_left_alone(lake):
    for name in "ab":
        lake.replace("t", pa.table({"name": [name], "n": [1]}), slice={"name": name}, partition_by=["name"])
    assert compact(lake, "t", min_files=2) == Compaction()


def test_files_that_are_large_enough_stay(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    sizes = [file.size for file in live_files(lake.open("t"))]
    monkeypatch.setattr(compaction, "TARGET_BYTES", 2 * min(sizes))
    assert compact(lake, "t", min_files=2) == Compaction()
    monkeypatch.setattr(compaction, "TARGET_BYTES", 2 * max(sizes) + 2)
    assert compact(lake, "t", min_files=2) == Compaction(4, 2, 0)


def test_older_files_without_a_newer_column_give_nulls(lake):
    scatter(lake, DAY, *"ab")
    lake.open("t").alter.add_columns([Field("note", PrimitiveType("string"))])
    wide = rows(DAY, "c").append_column("note", pa.array(["n"]))
    write_deltalake(lake.uri("t"), wide, mode="append")
    compact(lake, "t", min_files=2)
    found = {row["k"]: row["note"] for row in lake.read("t").to_pylist()}
    assert found == {"a": None, "b": None, "c": "n"}


def test_an_object_store_is_compacted_too(tmp_path):
    lake = Lake(f"file://{tmp_path}/lake")
    for number in range(3):
        lake.replace("t", rows(DAY, str(number)), slice={"k": str(number)}, partition_by=["score_date"])
        lake.replace("flat", pa.table({"n": [number]}), slice={"n": number})
    assert compact(lake, "t", min_files=3) == compact(lake, "flat", min_files=3) == Compaction(3, 1, 0)
    local = Lake(f"{tmp_path}/lake")
    assert sorted(local.read("t")["k"].to_pylist()) == ["0", "1", "2"]
    assert sorted(local.read("flat")["n"].to_pylist()) == [0, 1, 2]


# --- Bits ------------------------------------------------------------------------------------------------------

NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF800000000BEEF))[0]
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, math.nan, NAN, math.inf, -math.inf, 5e-324])
ROW = st.fixed_dictionaries(
    {
        "x": st.none() | FLOATS,
        "f": st.none() | st.floats(width=32),
        "i": st.none() | st.integers(-(2**31), 2**31 - 1),
        "s": st.none() | st.text(max_size=8).filter(lambda text: text.isprintable()),
        "b": st.none() | st.booleans(),
        "t": st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - the column has UTC
        "d": st.none() | st.decimals(-999, 999, places=2),
        "l": st.none() | st.lists(st.floats(width=32), max_size=3),
    }
)
SCHEMA = pa.schema(
    [
        ("x", pa.float64()),
        ("f", pa.float32()),
        ("i", pa.int32()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("t", pa.timestamp("us", "UTC")),
        ("d", pa.decimal128(10, 2)),
        ("l", pa.list_(pa.float32())),
    ]
)


def bits(table: pa.Table) -> list[tuple]:
    """Each row's values by their bits."""

    def exact(value: object) -> object:
        if isinstance(value, float):
            return np.float64(value).tobytes()
        return tuple(map(exact, value)) if isinstance(value, list) else value

    return [tuple(exact(value) for value in row.values()) for row in table.select(SCHEMA.names).to_pylist()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.lists(ROW, max_size=4), min_size=2, max_size=4))
def test_every_bit_of_every_row_stays_and_the_table_stays_readable(tmp_path_factory, parts):
    lake = Lake(str(tmp_path_factory.mktemp("bits")))
    for part in parts:
        data = pa.Table.from_pylist(part, schema=SCHEMA)
        data = data.append_column("score_date", pa.array([DAY] * len(part), pa.date32()))
        write_deltalake(lake.uri("t"), data, mode="append", partition_by=["score_date"])
    before = bits(lake.read("t"))
    compact(lake, "t", min_files=2)
    assert bits(lake.read("t")) == before
    assert digest(lake.read("t"), SCHEMA.names).rows == sum(map(len, parts))
    # what delta-rs makes of the statistics, without and with pruning
    handle = DeltaTable(lake.uri("t"))
    assert handle.count() == len(before)
    for row in (row for part in parts for row in part):
        if row["i"] is not None:
            assert row["i"] in lake.read("t", where={"i": row["i"]}, columns=["i"])["i"].to_pylist()


def test_statistics_bound_floats_only_where_no_value_is_nan(lake):
    schema = pa.schema([("score_date", pa.date32()), ("good", pa.float64()), ("bad", pa.float64())])
    for number in (1.0, 2.0):
        data = pa.table([[DAY], [number], [math.nan if number == 1 else number]], schema=schema)
        write_deltalake(lake.uri("t"), data, mode="append", partition_by=["score_date"])
    compact(lake, "t", min_files=2)
    statistics = json.loads(last_commit(lake)[1]["add"]["stats"])
    assert (statistics["minValues"], statistics["maxValues"]) == ({"good": 1.0}, {"good": 2.0})
    assert statistics["nullCount"] == {"good": 0, "bad": 0}
    assert statistics["numRecords"] == 2


# --- Races -----------------------------------------------------------------------------------------------------


def meanwhile(monkeypatch, *actions) -> None:
    """Does one thing after the other, each just before a commit of a compaction, as another process would."""
    waiting = list(actions)
    write = compaction._write

    def interrupted(*arguments) -> None:
        if waiting:
            waiting.pop(0)()
        write(*arguments)

    monkeypatch.setattr(compaction, "_write", interrupted)


def parquet(lake: Lake) -> int:
    return len(list(Path(lake.uri("t")).rglob("*.parquet")))


@pytest.mark.parametrize("own", [True, False])
def test_two_optimizers_at_once_duplicate_nothing(lake, monkeypatch, own):
    scatter(lake, DAY, *"abcd")

    def other() -> None:
        monkeypatch.undo()
        if own:
            compact(lake, "t", min_files=2)
        else:
            lake.open("t").optimize.compact()

    meanwhile(monkeypatch, other)
    assert compact(lake, "t", min_files=2) == Compaction(0, 0, 1)
    assert sorted(keys(lake, DAY)) == list("abcd")
    assert parquet(lake) == 5  # four and the winner's; the loser's own is gone


def test_a_date_that_is_replaced_meanwhile_wins(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    meanwhile(monkeypatch, lambda: lake.replace("t", rows(DAY, "new"), slice={"score_date": DAY}))
    assert compact(lake, "t", min_files=2) == Compaction(0, 0, 1)
    assert keys(lake, DAY) == ["new"]


def test_other_dates_cost_only_another_commit_of_the_same_file(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    rewritten = []
    rewrite = compaction.rewrite
    monkeypatch.setattr(compaction, "rewrite", lambda *args: rewritten.append(rewrite(*args)) or rewritten[-1])
    days = [OTHER + timedelta(days=number) for number in range(3)]
    meanwhile(
        monkeypatch, *(lambda day=day: lake.replace("t", rows(day, "o"), slice={"score_date": day}) for day in days)
    )
    assert compact(lake, "t", min_files=2) == Compaction(4, 1, 0)
    assert len(rewritten) == 1
    assert sorted(keys(lake, DAY)) == list("abcd")


def test_a_row_that_comes_meanwhile_stays(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    meanwhile(monkeypatch, lambda: write_deltalake(lake.uri("t"), rows(DAY, "e"), mode="append"))
    compact(lake, "t", min_files=2)
    assert sorted(keys(lake, DAY)) == list("abcde")


def test_a_writer_with_an_older_handle_looks_again(lake):
    from tallywright.errors import CommitConflictError

    scatter(lake, DAY, *"abcd")
    stale = lake.open("t")
    compact(lake, "t", min_files=2)
    change = Change("t", rows(DAY, "new"), {"score_date": DAY})
    with pytest.raises(CommitConflictError):
        lake.commit(change, stale)
    assert sorted(keys(lake, DAY)) == list("abcd")


def test_a_table_that_never_comes_to_rest_is_left_to_the_next_time(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    numbers = iter(range(100))
    monkeypatch.setattr(compaction, "ATTEMPTS", 3)

    def busy() -> None:
        lake.replace("t", rows(OTHER, str(next(numbers))), slice={"score_date": OTHER})

    meanwhile(monkeypatch, *[busy] * 3)
    assert compact(lake, "t", min_files=2) == Compaction(0, 0, 1)
    assert len(lake.files("t", day=DAY)) == 4


@pytest.mark.parametrize("error", [CommitFailedError("timed out"), OSError("connection reset")])
def test_a_commit_whose_answer_was_lost_stands(lake, monkeypatch, error):
    scatter(lake, DAY, *"abcd")
    write = compaction._write

    def write_and_fail(*arguments) -> None:
        write(*arguments)
        raise error

    monkeypatch.setattr(compaction, "_write", write_and_fail)
    assert compact(lake, "t", min_files=2) == Compaction(4, 1, 0)
    assert [file.rows for file in lake.files("t", day=DAY)] == [4]


@pytest.mark.parametrize("error", [CommitFailedError("permission denied"), OSError("no space left on device")])
def test_a_commit_that_storage_refuses_changes_nothing(lake, monkeypatch, error):
    scatter(lake, DAY, *"abcd")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(compaction, "_write", fail)
    with pytest.raises(StorageError, match="compacting"):
        compact(lake, "t", min_files=2)
    assert len(lake.files("t", day=DAY)) == 4


def test_a_rewriting_that_is_not_the_same_is_thrown_away(lake, monkeypatch):
    scatter(lake, DAY, *"abcd")
    before, version = parquet(lake), lake.open("t").version()
    writer = pq.ParquetWriter

    class Damaging(writer):
        def write_table(self, table, **options):
            super().write_table(table.slice(1), **options)

    monkeypatch.setattr("tallywright.data.upkeep.rewrite.pq.ParquetWriter", Damaging)
    with pytest.raises(StorageError, match="differ from the 4 rows"):
        compact(lake, "t", min_files=2)
    assert (parquet(lake), lake.open("t").version()) == (before, version)


def test_a_file_that_cannot_be_read_leaves_nothing_behind(lake):
    scatter(lake, DAY, *"abcd")
    Path(lake.files("t")[-1].path).write_bytes(b"no parquet")
    before, version = parquet(lake), lake.open("t").version()
    with pytest.raises(StorageError, match="compacting"):
        compact(lake, "t", min_files=2)
    assert (parquet(lake), lake.open("t").version()) == (before, version)


def test_files_that_hold_their_partition_column_too_are_rewritten(lake):
    """As Spark writes them."""
    scatter(lake, DAY, *"abc")
    for file in lake.files("t"):
        table = pq.read_table(file.path, partitioning=None)
        pq.write_table(table.append_column("score_date", pa.array([DAY], pa.date32())), file.path)
    before = keys(lake, DAY)
    assert compact(lake, "t", min_files=2) == Compaction(3, 1, 0)
    assert keys(lake, DAY) == before
    (file,) = lake.files("t")
    assert pq.read_schema(file.path).names == ["k"]


def test_a_file_with_a_column_that_the_table_lacks_is_refused(lake):
    scatter(lake, DAY, *"ab")
    path = Path(lake.files("t")[0].path)
    pq.write_table(pa.table({"k": ["a"], "secret": [1]}), path)
    with pytest.raises(TableContractError, match="secret"):
        compact(lake, "t", min_files=2)


def test_columns_whose_values_cannot_be_compared_are_refused(lake):
    data = pa.table({"score_date": pa.array([DAY], pa.date32()), "s": pa.array([{"a": 1}])})
    for _ in range(2):
        write_deltalake(lake.uri("t"), data, mode="append", partition_by=["score_date"])
    with pytest.raises(TableContractError, match="no digest"):
        compact(lake, "t", min_files=2)


def test_decimals_dates_and_instants_come_back(lake):
    moment = datetime(2024, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
    for number in range(2):
        data = pa.table({"n": [number], "d": [Decimal("1.10")], "t": pa.array([moment], pa.timestamp("us", "UTC"))})
        lake.replace("t", data, slice={"n": number})
    compact(lake, "t", min_files=2)
    assert lake.read("t", where={"n": 1}).to_pylist() == [{"n": 1, "d": Decimal("1.10"), "t": moment}]
