"""A scored date whose labels cannot be compared with its scores stops nothing but the colour of the task."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from damage import DAYS, make_lake, put
from deltalake import DeltaTable

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.delta.table import Table
from tallywright.errors import InputError, IntegrityError, RangeError, StorageError
from tallywright.lifecycle.backfill import DayResult
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.late_labels import Unrealised, unrealised_error
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.steps import backfill as step
from tallywright.monitoring.decisions import DECISIONS, current_decisions
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.monitoring.periods import read_periods
from tallywright.spec import Project

NEXT = DAYS[-1] + timedelta(days=1)


def label(project: Project, day: date, value: int | None) -> None:
    """Gives all rows of a day one label; None: the ones that they had."""
    lake = Lake.of(project.environment)
    rows = lake.read("shop__labels", where={"score_date": day}).drop_columns(["label"])
    values = [number % 2 if value is None else value for number in range(rows.num_rows)]
    lake.write(Change("shop__labels", rows.append_column("label", pa.array(values, pa.int64())), {"score_date": day},
                      ("score_date",)))  # fmt: skip


def realised(project: Project) -> set[date]:
    rows = Table(PERFORMANCE, Lake.of(project.environment), project.spec).rows(columns=["score_date"])
    return {row["score_date"] for row in rows}


def test_monitor_does_all_else_before_its_task_is_red(tmp_path: Path, heard) -> None:
    project = make_lake(tmp_path)
    lake = Lake.of(project.environment)
    put(lake, project, NEXT)
    label(project, DAYS[2], 2)
    DeltaTable(lake.uri("shop__performance")).delete(f"score_date = '{DAYS[1]}'")
    context = RunContext(project, NEXT, "run", RunOptions(act=True))
    run_step(context, "score")
    for again in ("monitor", "performance"):
        with pytest.raises(InputError, match="120 labels that are no class of the model: 2") as red:
            run_step(replace(context, run_id=again), again)
        assert "ingest the day again" in red.value.remedy
    assert f"{DAYS[2]} was not realised, and its scores stand: shop__labels" in heard.text
    assert realised(project) == {DAYS[0], DAYS[1]}
    assert read_periods(lake, project.spec)[NEXT].state == "scored"
    assert NEXT in current_decisions(Table(DECISIONS, lake, project.spec).read())
    label(project, DAYS[2], None)
    assert run_step(context, "monitor")["days"]
    assert realised(project) == {*DAYS}


def unrealised(*errors: type) -> tuple[Unrealised, ...]:
    return tuple(
        Unrealised(day, kind(f"no {day}", remedy="see to it")) for day, kind in zip(DAYS, errors, strict=False)
    )


def test_the_error_of_several_dates_names_them_and_is_one_that_a_retry_cures_where_one_is() -> None:
    one = unrealised_error("shop", unrealised(IntegrityError))
    assert (type(one), one.found) == (IntegrityError, f"no {DAYS[0]}")
    two = unrealised_error("shop", unrealised(InputError, StorageError))
    assert isinstance(two, StorageError)
    assert two.found == f"2 dates of shop were not realised: {DAYS[0]}: no {DAYS[0]}; {DAYS[1]}: no {DAYS[1]}"


@pytest.mark.parametrize(
    ("errors", "kind"),
    [((InputError,), InputError), ((IntegrityError,), IntegrityError), ((StorageError,), RangeError)],
)
def test_a_range_whose_days_are_done_ends_with_what_was_not_realised(repository, monkeypatch, errors, kind) -> None:
    from tallywright.spec import load_project

    done = DayResult(DAYS[0], "committed", 5, "one", "why", unrealised=unrealised(*errors))
    monkeypatch.setattr(step, "run_range", lambda *_, **__: [done])
    context = RunContext(load_project("flight_delays", root=repository), DAYS[0], "run", RunOptions(last=DAYS[0]))
    with pytest.raises(kind, match=f"no {DAYS[0]}") as red:
        step.backfill(context)
    assert "refused" not in str(red.value)
    assert red.value.retryable == (kind is RangeError)
