"""Small files are read once in a process, and what is kept of them is bounded."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from tallywright.data.delta import files
from tallywright.data.delta.lake import Lake
from tallywright.data.storage.filesystem import SmallFileCache


def table(rows: int) -> pa.Table:
    return pa.table({"n": pa.array(range(rows), pa.int64())})


def test_the_least_asked_for_goes_first():
    kept = SmallFileCache(limit=250)
    kept.put("a", table(10))
    kept.put("b", table(10))
    kept.put("b", table(10))  # twice is once
    assert kept.get("a") is not None
    kept.put("c", table(20))
    assert [name for name in "abc" if kept.get(name) is not None] == ["a", "c"]
    kept.put("d", table(100))
    assert kept.get("d") is None


def test_a_second_look_opens_only_what_is_new(tmp_path, monkeypatch):
    lake = Lake(str(tmp_path / "lake"))
    opened: list[str] = []
    read = files.TableReader._open

    def counted(self, path):
        opened.append(path)
        return read(self, path)

    monkeypatch.setattr(files.TableReader, "_open", counted)
    for number in range(20):
        lake.replace("t", pa.table({"n": pa.array([number], pa.int64())}), slice={"n": number})
        assert sorted(lake.read("t")["n"].to_pylist()) == list(range(number + 1))
    assert len(opened) == 20
    assert lake.read("t", where={"n": 7}, columns=["n"])["n"].to_pylist() == [7]
    assert len(opened) == 20


def test_large_tables_by_day_are_read_each_time(tmp_path, monkeypatch):
    lake = Lake(str(tmp_path / "lake"))
    day = date(2024, 1, 1)
    rows = pa.table({"score_date": pa.array([day], pa.date32()), "n": pa.array([1], pa.int64())})
    lake.replace("t", rows, slice={"score_date": day}, partition_by=["score_date"])
    kept = SmallFileCache()
    monkeypatch.setattr(files, "small_files", kept)
    assert lake.read("t", columns=["n"])["n"].to_pylist() == [1]
    assert kept._bytes == 0
