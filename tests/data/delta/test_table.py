"""A declared table: it may be missing, it reads what earlier versions wrote, and it is written by compare-and-swap."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_spec

from tallywright.data.delta.commit import Change, LostRaceError
from tallywright.data.delta.lake import Lake
from tallywright.data.delta.schema import arrow_schema
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import CommitConflictError, TableContractError
from tallywright.records import Record

DAY = date(2024, 3, 1)


class Row(Record):
    """A row."""

    day: date
    n: int
    note: str | None = None
    tags: tuple[str, ...] = ()


class Owned(Row):
    """A row of one shop's."""

    shop: str


ROWS = Declaration("rows", Row, ("day", "n"), ("day",), Kind.SLICE, "rows for a test")
WHOLE = Declaration("rows", Row, ("day", "n"), ("day",), Kind.UPDATE, "rows that follow from one another")
LINES = Declaration("rows", Row, ("n",), ("n",), Kind.APPEND, "lines for a test")


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def table(lake: Lake, declaration: Declaration[Row] = ROWS) -> Table[Row]:
    return Table(declaration, lake, make_spec())


def test_the_columns_follow_from_the_record() -> None:
    class Typed(Record):
        small: Annotated[int, pa.int32()]
        maybe: float | None

    schema = Declaration("typed", Typed, (), (), Kind.SLICE, "").schema
    assert schema == pa.schema([("small", pa.int32()), ("maybe", pa.float64())])

    class Untyped(Record):
        anything: dict[str, int]

    untyped = Declaration("untyped", Untyped, (), (), Kind.SLICE, "")
    with pytest.raises(TypeError, match="no column can hold"):
        _ = untyped.schema


def test_a_missing_table_has_no_rows_and_is_made_with_the_first(lake) -> None:
    assert table(lake).read() == []
    assert table(lake).rows(columns=["n"]) == []
    assert lake.tables() == []
    row = Row(day=DAY, n=1, tags=("a", "b"))
    assert table(lake).replace([row]) == 1
    assert table(lake).read() == [row]
    assert arrow_schema(lake.look("shop__rows")) == ROWS.schema


def test_nothing_proposed_makes_no_table(lake) -> None:
    assert table(lake, LINES).append(lambda rows: None) is None
    assert table(lake, WHOLE).update(lambda rows: None, {"day": DAY}) is False
    assert lake.tables() == []


def test_a_table_is_written_as_it_is_declared(lake) -> None:
    with pytest.raises(TypeError, match="declared as APPEND, not SLICE"):
        table(lake, LINES).replace([Row(day=DAY, n=1)])
    with pytest.raises(TypeError, match="declared as SLICE, not APPEND"):
        table(lake).append(lambda rows: None)
    with pytest.raises(TypeError, match="declared as SLICE, not UPDATE"):
        table(lake).update(lambda rows: None, {"day": DAY})


def test_a_slice_is_replaced_and_the_rest_stays(lake) -> None:
    other = Row(day=date(2024, 3, 2), n=3)
    for rows in ([Row(day=DAY, n=1), Row(day=DAY, n=2)], [other], [Row(day=DAY, n=9)]):
        table(lake).replace(rows)
    assert table(lake).read({"day": DAY}) == [Row(day=DAY, n=9)]
    assert table(lake).read({"day": other.day}) == [other]
    assert table(lake).replace_if_changed([Row(day=DAY, n=9)]) is None
    assert table(lake).replace_if_changed([], {"day": DAY}) == 4
    assert table(lake).read() == [other]


def test_records_of_two_slices_are_not_one_write(lake) -> None:
    with pytest.raises(TableContractError, match="not in the slice"):
        table(lake).replace([Row(day=DAY, n=1), Row(day=date(2024, 3, 2), n=2)])


def test_what_another_version_wrote_is_read(lake) -> None:
    stored = {"day": pa.array([DAY], pa.date32()), "n": pa.array([1], pa.int64())}
    lake.replace("shop__rows", pa.table(stored), slice={"day": DAY})
    assert table(lake).read() == [Row(day=DAY, n=1)]
    assert table(lake).rows(columns=["n", "note"]) == [{"n": 1}]
    lake.replace("shop__rows", pa.table(stored | {"newer": pa.array([0.5])}), slice={"day": DAY})
    assert table(lake).read() == [Row(day=DAY, n=1)]
    table(lake).replace([Row(day=DAY, n=2, note="mine")])
    assert table(lake).read() == [Row(day=DAY, n=2, note="mine")]
    assert lake.read("shop__rows")["newer"].to_pylist() == [None]


def test_a_record_is_thought_out_again_when_another_was_faster(lake) -> None:
    asked = []

    def propose(rows: list[Row]) -> Row:
        asked.append(len(rows))
        if asked in ([0, 0], [0, 0, 1]):
            table(Lake(lake.root), LINES).append(lambda theirs: Row(day=DAY, n=len(theirs), note="theirs"))
        return Row(day=DAY, n=len(rows), note="mine")

    assert table(lake, LINES).append(propose) == Row(day=DAY, n=2, note="mine")
    assert asked == [0, 0, 1, 2]  # first without a table, then on it
    assert sorted((row.n, row.note) for row in table(lake).read()) == [(0, "theirs"), (1, "theirs"), (2, "mine")]


def test_an_update_is_made_of_the_rows_that_it_replaces(lake) -> None:
    table(lake).replace([Row(day=DAY, n=1)])
    asked = []

    def propose(rows: list[Row]) -> list[Row]:
        asked.append([row.n for row in rows])
        if len(asked) == 1:
            table(lake).replace([Row(day=DAY, n=5)])  # with the very same lake
        return [*rows, Row(day=DAY, n=rows[0].n + 1)]

    assert table(lake, WHOLE).update(propose, {"day": DAY})
    assert asked == [[1], [5]]
    assert sorted(row.n for row in table(lake).read()) == [5, 6]


ROW = st.builds(
    Row, day=st.sampled_from([DAY, date(2024, 3, 2)]), n=st.integers(0, 3), note=st.sampled_from(["a", None])
)


@given(st.lists(st.lists(ROW, max_size=6, unique_by=lambda row: (row.day, row.n)), min_size=1, max_size=4))
@settings(max_examples=25)
def test_after_an_update_the_table_holds_what_was_proposed(states: list[list[Row]]) -> None:
    with TemporaryDirectory() as folder:
        kept = table(Lake(folder), replace(WHOLE, slice=("shop",), record=Owned, key=("day", "n")))
        for state in states:
            wanted = [Owned(**row.model_dump(), shop="shop") for row in state]
            kept.update(lambda _, wanted=wanted: wanted, {"shop": "shop"})
            assert sorted(kept.read(), key=str) == sorted(wanted, key=str)


def test_long_texts_are_not_repeated_in_the_log(lake) -> None:
    table(lake).replace([Row(day=DAY, n=1, note="x" * 5000)])
    table(lake).replace([Row(day=DAY, n=2, note="short")])
    logs = sorted(Path(lake.uri("shop__rows"), "_delta_log").glob("*.json"))
    assert all(log.stat().st_size < 3000 for log in logs)
    assert [row.note for row in table(lake).read({"day": DAY})] == ["short"]
    assert "short" in logs[-1].read_text()


def test_rows_that_are_added_rewrite_no_file(lake) -> None:
    decided = table(lake, WHOLE)
    for n in range(5):
        decided.update(lambda rows, n=n: [*rows, Row(day=DAY, n=n, note="x" * 100)], {"day": DAY})
    files = {file.path for file in lake.files("shop__rows")}
    assert len(files) == 5
    decided.update(
        lambda rows: [row.model_copy(update={"note": "y"}) if row.n == 2 else row for row in rows], {"day": DAY}
    )
    assert len(files & {file.path for file in lake.files("shop__rows")}) == 4
    assert sorted((row.n, row.note[0]) for row in decided.read()) == [(0, "x"), (1, "x"), (2, "y"), (3, "x"), (4, "x")]


def test_rows_are_added_only_to_the_version_that_was_read(lake) -> None:
    table(lake, WHOLE).update(lambda _: [Row(day=DAY, n=1)], {"day": DAY})
    stale = lake.open("shop__rows")
    change = Change("shop__rows", lake.read("shop__rows"), {"day": DAY}, added=True)
    lake.attempt(change, lake.open("shop__rows"))
    with pytest.raises(LostRaceError):
        lake.attempt(change, stale)
    assert lake.read("shop__rows").num_rows == 2


def test_writers_that_never_stop_are_a_conflict(lake, monkeypatch) -> None:
    monkeypatch.setattr("tallywright.data.delta.commit.time.sleep", lambda _: None)
    table(lake).replace([Row(day=DAY, n=0)])
    other = table(Lake(lake.root))

    def propose(rows: list[Row]) -> list[Row]:
        other.replace([Row(day=DAY, n=rows[0].n + 1)])
        return rows

    with pytest.raises(CommitConflictError, match="attempts lost"):
        table(lake, WHOLE).update(propose, {"day": DAY})
