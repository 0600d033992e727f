"""Slices that wait for one commit: read as if they stood, written together, and nothing waits after the block."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import pytest
from synthetic import DAY, make_spec

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.records import Record


class Note(Record):
    """A row of the table that these tests write."""

    score_date: date
    place: int
    text: str


NOTES: Final = Declaration(
    what="notes", record=Note, key=("score_date", "place"), slice=("score_date",), kind=Kind.SLICE, doc="notes of a day"
)


def notes_of(number: int, *texts: str) -> list[Note]:
    return [Note(score_date=day_of(number), place=place, text=text) for place, text in enumerate(texts)]


def day_of(number: int) -> date:
    return DAY + timedelta(days=number)


def told(table: Table[Note]) -> list[tuple[int, str]]:
    return sorted(((row.score_date - DAY).days, row.text) for row in table.read())


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def table(lake) -> Table[Note]:
    table = Table(NOTES, lake, make_spec())
    table.replace(notes_of(0, "a", "b"))
    table.replace(notes_of(1, "c"))
    return table


def test_what_waits_is_read_in_place_of_what_stands_and_costs_one_commit(lake, table) -> None:
    version = lake.open(table.name).version()
    with lake.batching():
        assert table.replace(notes_of(0, "d")) is None
        assert table.replace(notes_of(2, "e", "f")) is None
        assert told(table) == [(0, "d"), (1, "c"), (2, "e"), (2, "f")]
        assert [row.text for row in table.read({"score_date": day_of(2)})] == ["e", "f"]
        assert table.rows({"score_date": day_of(0)}, ["text"]) == [{"text": "d"}]
        assert lake.open(table.name).version() == version
    assert lake.open(table.name).version() == version + 1
    assert told(table) == [(0, "d"), (1, "c"), (2, "e"), (2, "f")]
    assert told(Table(NOTES, Lake(lake.root), make_spec())) == told(table)


def test_the_last_change_of_a_slice_is_written(lake, table) -> None:
    with lake.batching():
        table.replace(notes_of(0, "x"))
        table.replace(notes_of(0, "y"))
        assert table.replace_if_changed(notes_of(1, "c")) is None
        lake.flush()
        version = lake.open(table.name).version()
    assert lake.open(table.name).version() == version
    assert told(table) == [(0, "y"), (1, "c")]


def test_a_slice_that_waits_can_go_back_to_what_stands(lake, table) -> None:
    with lake.batching():
        table.replace(notes_of(1, "changed"))
        table.replace_if_changed(notes_of(1, "c"))
        assert told(table) == [(0, "a"), (0, "b"), (1, "c")]
    assert told(table) == [(0, "a"), (0, "b"), (1, "c")]


def test_an_error_in_the_block_loses_nothing_that_waits(lake, table) -> None:
    def fails() -> None:
        with lake.batching():
            table.replace(notes_of(3, "kept"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert told(table)[-1] == (3, "kept")
    assert lake.pending is None


def test_a_table_may_be_made_by_what_waits(tmp_path) -> None:
    lake = Lake(str(tmp_path / "new"))
    table = Table(NOTES, lake, make_spec())
    with lake.batching():
        table.replace(notes_of(0, "first"))
        assert told(table) == [(0, "first")]
    assert told(table) == [(0, "first")]


def test_a_block_inside_another_waits_for_the_outer_one(lake, table) -> None:
    with lake.batching():
        with lake.batching():
            table.replace(notes_of(0, "inner"))
        assert lake.pending is not None
        assert told(Table(NOTES, Lake(lake.root), make_spec())) == [(0, "a"), (0, "b"), (1, "c")]
    assert told(table) == [(0, "inner"), (1, "c")]
