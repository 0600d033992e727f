"""The sensor of `schedule.after`: what a look says, until the deadline and after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tallywright.lifecycle.plan import Pipeline
from tallywright.spec import load_project

READY = """printf '{"ready": true}' > "$result" """
MISSING = """printf '{"ready": false, "missing": "weather__features holds nothing of it"}' > "$result" """
FUTURE, PAST = "2999-06-27", "2013-06-27"


@pytest.fixture
def sensor(
    airflow: None, project_copy: Path, interpreter: Callable[[str], str], tmp_path: Path
) -> Callable[..., tuple[Any, Any]]:
    """Makes the sensor of a model that waits, with a stand-in for the command, and its DAG."""

    def make(script: str = READY, after: str = "weather__features") -> tuple[Any, Any]:
        from tallywright.orchestration.dags import model_dag

        sets = [f"schedule.after={after}", "schedule.end_date=null"]
        dag = model_dag(load_project("flight_delays", root=project_copy, overrides=sets), Pipeline.SCORE)
        found = dag.task_dict["await_input"]
        found.command = replace(found.command, interpreter=interpreter(script), root=tmp_path)
        return found, dag

    return make


def context(day: str, **others: Any) -> dict[str, Any]:
    run = SimpleNamespace(run_id="run-1", run_type="manual", partition_key=None)
    return {"params": {"date": day}, "dag_run": run, **others}


def test_it_comes_first_and_frees_its_slot_while_it_waits(sensor: Callable[..., tuple[Any, Any]]) -> None:
    found, dag = sensor()
    assert dag.task_dict["ingest"].upstream_task_ids == {"await_input"}
    assert (found.mode, found.poke_interval, found.retries, found.execution_timeout) == ("reschedule", 60, 0, None)
    assert found.timeout == 2 * 3600 + 60  # the cron is 04:00, the deadline 06:00


def test_what_is_there_is_waited_for_no_longer(sensor: Callable[..., tuple[Any, Any]], tmp_path: Path) -> None:
    assert sensor()[0].poke(context(PAST)) is True
    asked = (tmp_path / "interpreter.asked").read_text()
    assert f"-m tallywright run flight_delays await-input --date={PAST}" in asked


def test_what_is_missing_is_waited_for_until_the_deadline(sensor: Callable[..., tuple[Any, Any]]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    found, _ = sensor(MISSING)
    assert found.poke(context(FUTURE)) is False
    with pytest.raises(
        AirflowFailException, match="holds nothing of it; the deadline of 2013-06-27 was 2013-06-28 10:00"
    ):
        found.poke(context(PAST))


def test_an_asset_has_to_have_had_an_event_since_the_periods_end(sensor: Callable[..., tuple[Any, Any]]) -> None:
    from airflow.sdk import Asset

    asked: list[str] = []

    class Events(list[Any]):
        def after(self, instant: str) -> Events:
            asked.append(instant)
            return self

    found, _ = sensor(after="s3://bucket/weather")
    assert found.inlets == [Asset("s3://bucket/weather")]
    assert found.poke(context(FUTURE, inlet_events={Asset("s3://bucket/weather"): Events()})) is False
    assert found.poke(context(PAST, inlet_events={Asset("s3://bucket/weather"): Events(["event"])})) is True
    assert asked == ["2999-06-28T04:00:00+00:00", "2013-06-28T04:00:00+00:00"]


@pytest.mark.parametrize(
    ("keys", "period", "due"),
    [
        ({"cadence": "hour"}, "2025-03-30T00:00Z", "2025-03-30 01:30"),
        ({}, "2025-03-29", "2025-03-30 04:00"),
        ({"cadence": "week", "cron": "0 4 * * 3"}, "2025-03-24", "2025-04-02 04:00"),
        ({"cadence": "week", "cron": "0 4 * * 0"}, "2025-03-24", "2025-04-06 04:00"),
        ({"cadence": "month", "cron": "0 4 2 * *"}, "2025-02-01", "2025-03-02 05:00"),
    ],
)
def test_a_period_is_due_on_the_day_of_its_run_when_the_watch_looks(
    airflow: None, keys: dict[str, str], period: str, due: str
) -> None:
    import pendulum
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.interval import CronDataIntervalTimetable

    from tallywright.spec.schedule import Schedule

    schedule = Schedule.model_validate({"timezone": "Europe/Berlin", "start_date": date(2025, 1, 1)} | keys)
    one = schedule.calendar.parse(period)
    assert f"{schedule.due(one):%Y-%m-%d %H:%M}" == due
    watch = CronDataIntervalTimetable(schedule.deadline_cron, schedule.timezone)
    earliest = pendulum.instance(schedule.calendar.start(one))
    first = watch.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=earliest, latest=None, catchup=True)
    )
    assert first is not None
    assert (first.data_interval.end, schedule.calendar.period_at(first.data_interval.start)) == (schedule.due(one), one)
