"""A range as a step: what one failed day means for the whole, so that Airflow retries what a retry can cure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from synthetic import DAY

from tallywright.errors import InputError, RangeError
from tallywright.lifecycle.backfill import DayResult
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
    ],
)
def test_one_failure_that_a_retry_can_cure_is_worth_one(repository, monkeypatch, codes, error) -> None:
    monkeypatch.setattr(step, "run_range", lambda *_, **__: results(*codes))
    context = RunContext(load_project("flight_delays", root=repository), DAY, "run", RunOptions(last=DAY))
    with pytest.raises(error, match=f"of {len(codes)} days were refused") as found:
        step.backfill(context)
    assert found.value.retryable == (error is RangeError)
