"""A range as a step: what one failed day means for the whole, so that Airflow retries what a retry can cure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from synthetic import DAY

from tallywright.errors import (
    InputError,
    IntegrityError,
    NoChampionError,
    RangeError,
    StorageError,
    TallyError,
    UnexpectedError,
)
from tallywright.lifecycle import backfill as ranges
from tallywright.lifecycle.backfill import DayResult, verdict
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.steps import backfill as step
from tallywright.spec import load_project


def results(*codes: tuple[int, bool]) -> list[DayResult]:
    return [
        DayResult(DAY + timedelta(days=number), "refused" if code else "committed", 5, "one", "why", code, retry)
        for number, (code, retry) in enumerate(codes)
    ]


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ([(0, False), (4, False)], InputError),
        ([(4, False), (11, True), (0, False)], RangeError),
        ([(13, True)], RangeError),
        ([(7, False), (7, False)], NoChampionError),
        ([(4, False), (15, False), (70, False)], IntegrityError),
        ([(70, False), (7, False)], UnexpectedError),
        ([(7, False), (8, False), (0, False)], InputError),
        ([(15, False), (70, False), (11, True)], RangeError),
    ],
)
def test_one_failure_that_a_retry_can_cure_is_worth_one(repository, monkeypatch, codes, error) -> None:
    monkeypatch.setattr(step, "run_range", lambda *_, **__: results(*codes))
    context = RunContext(load_project("flight_delays", root=repository), DAY, "run", RunOptions(last=DAY))
    with pytest.raises(error, match=f"of {len(codes)} days were refused") as found:
        step.backfill(context)
    assert type(found.value) is error
    assert found.value.exit_code == verdict(results(*codes))
    assert found.value.retryable == (error in (RangeError, UnexpectedError))


def test_a_range_without_a_failure_has_no_error_code() -> None:
    assert verdict([]) == verdict(results((0, False), (0, False))) == 0


@pytest.mark.parametrize(
    "error", [ValueError("NaN to integer"), MemoryError("7.11 PiB"), RecursionError(), KeyError("x")]
)
def test_an_exception_that_is_not_ours_fails_its_day_and_no_other(
    error: Exception, repository, monkeypatch, tmp_path, heard
) -> None:
    monkeypatch.setenv("TALLYWRIGHT_HOME", str(tmp_path))

    def run(context: RunContext, *_: object, **__: object) -> dict[str, dict[str, object]]:
        if context.day == DAY:
            raise error
        if context.day == DAY + timedelta(days=1):
            raise StorageError("the disk is gone")
        return {"score": {"action": "committed", "rows": 3, "models": ["one"], "generation": 1}}

    monkeypatch.setattr(ranges, "run_pipeline", run)
    project = load_project("flight_delays", root=repository)
    told: list[DayResult] = []
    days = [DAY + timedelta(days=number) for number in range(3)]
    found = [ranges._score_day(RunContext(project, day, "a run"), frozenset(), told.append) for day in days]
    assert told == found
    assert [(one.action, one.exit_code) for one in found] == [("failed", 70), ("refused", 11), ("committed", 0)]
    assert type(error).__name__ in found[0].detail
    assert found[0].reason == "unexpected"
    (file,) = tmp_path.rglob("failed-*.txt")
    assert "Traceback" in file.read_text()
    assert str(file) in found[0].detail
    assert any("failed" in text for text in heard.messages)
    assert verdict(found) == RangeError.exit_code
    assert verdict([found[0], found[2]]) == 70


def test_an_error_of_ours_stays_what_it_is() -> None:
    ours: TallyError = InputError("x")
    assert UnexpectedError.of(ours) is ours
    assert UnexpectedError.of(ValueError("y")).found == "unexpected ValueError: y"
