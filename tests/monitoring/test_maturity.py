"""Every scored date is realised once its labels are mature, whatever its neighbours and whatever the order of runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import permutations

import pytest
from synthetic import make_spec
from world import World

from tallywright.data.delta.table import Table
from tallywright.data.etl.label_readings import LABEL_READINGS, LabelReading
from tallywright.monitoring.maturity import RunDates, dates_due, realise
from tallywright.monitoring.performance import PERFORMANCE, Due, PerformanceRow

DAY = date(2024, 3, 1)
NOW = datetime(2024, 4, 1, tzinfo=UTC)


def day(number: int) -> date:
    return DAY + timedelta(days=number)


@pytest.fixture
def waiting(world: World) -> World:
    """Labels are mature after two days, and may arrive for four."""
    world.spec = make_spec(data={"label_maturity_days": 2, "label_wait_days": 4}, monitoring={"min_labels": 100})
    return world


def written(world: World, due: Due) -> None:
    """Stands for the computation: the row that it leaves behind."""
    row = PerformanceRow(
        score_date=due.day, window_start=due.day, window_end=due.day, granularity="1 day", as_of=due.as_of,
        label_age_days=(due.as_of - due.day).days, mature=True, model_name="shop", model_version=1, role="champion",
        slice_key=None, slice_value=None, metric="coverage", value=1.0, lower=None, upper=None, bound_min=None,
        bound_max=None, violated=False, rows=1, known=1, never=0, missing=0, labels_fingerprint=due.fingerprint,
    )  # fmt: skip
    Table(PERFORMANCE, world.lake, world.spec).replace([row])


def ages(world: World) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in Table(PERFORMANCE, world.lake, world.spec).rows(columns=["score_date", "label_age_days"]):
        found.setdefault((row["score_date"] - DAY).days, []).append(row["label_age_days"])
    return {number: sorted(found[number]) for number in sorted(found)}


@pytest.mark.parametrize("order", [*permutations((0, 1, 4, 5))][::4])
def test_any_days_in_any_order_end_with_every_mature_one_realised(waiting: World, order: tuple[int, ...]) -> None:
    """Of the days 0, 1, 4 and 5 (2, 3 are missing) the newest says that 0 and 1 are final; others are not mature."""
    scored: set[date] = set()
    for number in order:
        scored.add(day(number))
        for due in dates_due(waiting.lake, waiting.spec, RunDates(day(number), [day(number)]), scored):
            written(waiting, due)
    assert ages(waiting) == {0: [2, 4], 1: [2, 4]}
    assert dates_due(waiting.lake, waiting.spec, RunDates(day(5)), scored) == []


def test_a_refused_day_lets_business_time_go_on(waiting: World) -> None:
    due = dates_due(waiting.lake, waiting.spec, RunDates(day(2)), {day(0)})
    assert [(one.day, one.as_of) for one in due] == [(day(0), day(2))]


def reading(world: World, number: int, fingerprint: str, mature: str) -> None:
    row = LabelReading(score_date=day(number), model_name="shop", as_of=day(number + 4), known=1, never=0,
                       fingerprint=fingerprint, mature_fingerprint=mature, recorded_at=NOW)  # fmt: skip
    Table(LABEL_READINGS, world.lake, world.spec).update(lambda _: [row], {"model_name": "shop"})


def test_labels_that_changed_are_a_restatement_of_their_age_alone(waiting: World, heard) -> None:
    scored = {day(0), day(3)}
    reading(waiting, 0, "one", "first")
    for due in dates_due(waiting.lake, waiting.spec, RunDates(day(3)), scored):
        written(waiting, due)
    assert ages(waiting) == {0: [2]}
    # A label that arrived on the third day: the mature figure stays, the new age is added.
    reading(waiting, 0, "two", "first")
    (due,) = dates_due(waiting.lake, waiting.spec, RunDates(day(3)), scored, changed=[day(0)])
    assert (due.as_of, due.restates) == (day(3), False)
    written(waiting, due)
    # A corrected label of before: both are restated.
    reading(waiting, 0, "three", "second")
    found = dates_due(waiting.lake, waiting.spec, RunDates(day(3)), scored, changed=[day(0)])
    assert [(due.as_of, due.restates) for due in found] == [(day(2), True), (day(3), True)]
    for due in found:
        written(waiting, due)
    assert dates_due(waiting.lake, waiting.spec, RunDates(day(3)), scored) == []


def test_rows_of_before_are_taken_for_current_unless_this_run_found_other_labels(waiting: World) -> None:
    written(waiting, Due(day(0), day(2)))
    reading(waiting, 0, "one", "first")
    assert dates_due(waiting.lake, waiting.spec, RunDates(day(2)), {day(0)}) == []
    (due,) = dates_due(waiting.lake, waiting.spec, RunDates(day(2)), {day(0)}, changed=[day(0)])
    assert due.restates


def test_a_restatement_is_said_and_a_repeat_commits_nothing(world: World, heard) -> None:
    world.score(DAY)
    world.label(DAY)
    due = Due(DAY, day(1), "one")
    realise(world.lake, world.spec, due)
    version = world.lake.open("shop__performance").version()
    realise(world.lake, world.spec, due)
    assert world.lake.open("shop__performance").version() == version
    world.label(DAY, never=50)
    found = realise(world.lake, world.spec, Due(DAY, day(1), "two", restates=True))
    assert (found.known, found.never) == (250, 50)
    assert "performance of 2024-03-01 at a label age of 1 days is restated" in heard.text
