"""Due periods: one current row a date, what supersedes what, and how far back one looks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from synthetic import make_spec
from world import World

from tallywright.data.delta.table import Table
from tallywright.data.etl.day_checks import MissingRowsError, WrongLabelsError
from tallywright.errors import GateRefusedError, InputError
from tallywright.monitoring.decisions import DECISIONS, current_decisions, decide_days
from tallywright.monitoring.periods import (
    PERIODS,
    Period,
    PeriodState,
    due_periods,
    first_due,
    look_back,
    read_periods,
    reason_code,
    record_periods,
    unscored_since,
)
from tallywright.records import Verdict

DAY = date(2024, 3, 1)  # a Friday
NOW = datetime(2024, 4, 1, tzinfo=UTC)
REFUSED = Period.refused(DAY, GateRefusedError("too few rows\nand more", checks=("row_count",)))
SCORED = Period(DAY, PeriodState.SCORED, "first", generation=1)
AGAIN = Period(DAY, PeriodState.SCORED, "restated_input", generation=2)
FOUND = {
    "scored": SCORED,
    "again": AGAIN,
    "refused": REFUSED,
    "closed": Period.closed(DAY, "a date in schedule.closed"),
    "missed": Period.missed(DAY),
}


def put(world: World, *found: Period) -> None:
    record_periods(world.lake, world.spec, found, recorded_at=NOW)


def rows(world: World):
    return sorted(Table(PERIODS, world.lake, world.spec).read(), key=lambda row: row.revision)


@pytest.mark.parametrize("names", [*product(FOUND, repeat=3)][::7])
def test_whatever_is_found_one_row_is_current_and_nothing_is_lost(world: World, names: tuple[str, ...]) -> None:
    for name in names:
        put(world, FOUND[name])
        before = rows(world)
        put(world, FOUND[name])
        assert rows(world) == before, "found again, it is no news"
    found = rows(world)
    assert [row.revision for row in found] == list(range(1, len(found) + 1))
    (current,) = [row for row in found if not row.superseded]
    assert all(row.superseded_at == NOW for row in found if row.superseded)
    if {"scored", "again"} & {*names}:
        assert (current.state, current.generation) == ("scored", 2 if "again" in names else 1)
    elif "refused" in names:
        assert "refused" in {row.state for row in found}
    assert {row.state for row in found} <= {FOUND[name].state.value for name in names}


def test_a_refusal_keeps_its_reason_checks_and_exit_code_when_the_day_is_scored(world: World) -> None:
    put(world, REFUSED)
    put(world, SCORED)
    first, second = rows(world)
    assert (first.state, first.reason, first.checks, first.exit_code) == ("refused", "gate_refused", ("row_count",), 8)
    assert (first.detail, first.superseded) == ("too few rows", True)
    assert (second.state, second.generation, second.superseded) == ("scored", 1, False)


def test_a_day_that_stands_scored_keeps_a_later_refusal_as_history(world: World) -> None:
    put(world, SCORED)
    put(world, REFUSED)
    assert read_periods(world.lake, world.spec)[DAY].state == "scored"
    assert [row.state for row in rows(world)] == ["scored", "refused"]


def test_a_reason_is_the_class_of_the_error() -> None:
    assert reason_code(GateRefusedError("no")) == "gate_refused"
    assert reason_code(InputError("no")) == "input"


SPEC = make_spec(schedule={"closed": {"weekdays": ["sunday"], "dates": [DAY + timedelta(days=4)]}})


def day(number: int) -> date:
    return DAY + timedelta(days=number)


def test_the_gap_reaches_back_to_the_last_scored_date_and_leaves_closed_ones_out() -> None:
    assert unscored_since(SPEC, day(6), {DAY, day(6)}) == [day(number) for number in (1, 3, 5)]
    assert unscored_since(SPEC, day(6), {DAY, day(3), day(5)}) == []
    assert unscored_since(SPEC, day(6), {DAY, day(3)}) == [day(5)]
    assert unscored_since(SPEC, day(6), {day(6), day(7)}) == [], "nothing was due before the first scored date"


def test_how_far_one_looks_back_is_bounded() -> None:
    far = day(400)
    gap = unscored_since(SPEC, far, {DAY})
    assert (len(gap), gap[-1]) == (look_back(SPEC), SPEC.schedule.calendar.previous_open(far))
    looked = due_periods(SPEC, far, DAY)
    assert sum(SPEC.schedule.calendar.is_open(one) for one in looked) == look_back(SPEC)
    assert due_periods(SPEC, day(3), DAY) == [day(number) for number in range(4)]


def test_nothing_is_due_before_the_first_scored_date() -> None:
    assert first_due({day(2), day(3)}, {DAY}, day(5)) == day(2)
    assert first_due(set(), {day(1)}, day(5)) == day(1)
    assert first_due(set(), set(), day(5)) == day(5)


def decisions(world: World):
    return current_decisions(Table(DECISIONS, world.lake, world.spec).read())


def test_unscored_periods_are_decisions_without_evidence(world: World) -> None:
    world.watch(DAY)
    world.watch(day(4))
    refused = Period.refused(day(1), GateRefusedError("too few rows", checks=("row_count",)))
    put(world, refused, Period.closed(day(2), "sunday in schedule.closed"), Period.missed(day(3)))
    decide_days(world.lake, world.spec, [DAY, day(4)], recorded_at=NOW)
    found = decisions(world)
    assert found[day(1)].reasons == (
        "broken_day: refused with gate_refused, row_count (exit code 8); neither a violation nor evidence",
    )
    assert found[day(2)].reasons == ("closed_day: sunday in schedule.closed; nothing is expected of it",)
    assert found[day(3)].reasons == ("broken_day: not scored; neither a violation nor evidence",)
    assert found[DAY].reasons == found[day(4)].reasons == ()
    assert not any(row.retrain for row in found.values())


def test_a_bound_that_was_violated_on_a_day_without_evidence_counts_on_the_next_that_is(world: World) -> None:
    from tallywright.monitoring.performance import realised

    world.watch(DAY)
    world.label(DAY, skill=0.0)
    world.spec = world.spec.model_copy(
        update={
            "monitoring": world.spec.monitoring.model_copy(
                update={"performance_floor": {"roc_auc": world.spec.monitoring.performance_floor["roc_auc"].model_copy(
                    update={"min": 0.99})}}
            )
        }
    )  # fmt: skip
    found = realised(world.lake, world.spec, DAY, as_of=day(1))
    if not found.violated:
        pytest.fail("the labels are noise, so the bound is violated")
    put(world, Period.refused(day(1), GateRefusedError("too few rows")))
    world.watch(day(2), verdict=Verdict.FAIL)
    world.watch(day(3))
    decide_days(world.lake, world.spec, [DAY, day(2), day(3)], recorded_at=NOW)
    told = {when: row.reasons for when, row in decisions(world).items()}
    assert not any("performance" in reason for when in (DAY, day(1), day(2)) for reason in told[when])
    assert any(reason.startswith("performance: roc_auc of 2024-03-01") for reason in told[day(3)])


def test_the_reason_of_a_period_is_the_class_that_tables_know() -> None:
    """A class that says more of an error to ourselves changes no code that is stored."""
    assert reason_code(MissingRowsError("no rows")) == reason_code(InputError("no rows")) == "input"
    assert reason_code(WrongLabelsError("2 is no label")) == "wrong_labels"
