"""The loop of every commit: what is decided again after a lost race, and what is no race but a failure."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError

from tallywright.data.delta import commit
from tallywright.data.delta.commit import LostRaceError, Race, SkippedError, compare_and_swap
from tallywright.data.delta.lake import Lake


class AloneError(Exception):
    """Nobody else committed."""


class TooLateError(Exception):
    """Somebody else was faster each time."""


@pytest.fixture
def lake(tmp_path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    put(made, 0)
    return made


@pytest.fixture
def race(lake) -> Race:
    return Race(hold=lambda: lake.hold("t"), failure=AloneError, conflict=TooLateError, attempts=4)


def put(lake: Lake, number: int) -> None:
    Lake(lake.root).replace("t", pa.table({"n": pa.array([number], pa.int64())}), slice={"n": number})


@pytest.mark.parametrize("error", [LostRaceError("lost"), CommitFailedError("lost")])
def test_a_lost_race_is_decided_again_on_what_stands_now(lake, race, error) -> None:
    seen = []

    def attempt(table) -> str:
        seen.append(table.version())
        if len(seen) < 3:
            put(lake, len(seen))
            raise error
        return "done"

    assert compare_and_swap(race, attempt) == "done"
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("error", [LostRaceError("disk full"), CommitFailedError("disk full")])
def test_a_commit_that_fails_alone_is_a_failure_at_once(race, error) -> None:
    seen = []

    def attempt(table) -> None:
        seen.append(table.version())
        raise error

    with pytest.raises(AloneError, match="disk full"):
        compare_and_swap(race, attempt)
    assert seen == [1]


def test_a_table_that_never_comes_to_rest_is_a_conflict(lake, race) -> None:
    seen = []

    def attempt(table) -> None:
        seen.append(table.version())
        put(lake, len(seen))
        raise LostRaceError

    with pytest.raises(TooLateError):
        compare_and_swap(race, attempt)
    assert seen == [1, 2, 3, 4]


def test_a_skipped_commit_is_looked_at_again_although_nothing_moved(race) -> None:
    seen = []

    def attempt(table) -> bool:
        seen.append(table.version())
        if len(seen) == 1:
            raise SkippedError
        return True

    assert compare_and_swap(race, attempt)
    assert seen == [1, 1]


def test_nothing_to_do_is_a_result(lake, race) -> None:
    assert compare_and_swap(race, lambda table: None) is None
    assert lake.look("t").version() == 1


def test_another_error_is_the_callers(race) -> None:
    def attempt(table) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        compare_and_swap(race, attempt)


def test_pauses_grow_and_are_bounded(monkeypatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(commit.time, "sleep", slept.append)
    for attempt in range(60):
        commit.pause(attempt)
    assert 0 < slept[0] < 0.01
    assert max(slept) <= 0.75
