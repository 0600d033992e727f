"""The timetable of a model with a calendar: a run for each open date, and none for a closed one."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.lifecycle.plan import Pipeline
from tallywright.spec import load_project
from tallywright.spec.calendar import Calendar

ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/Berlin")


@pytest.fixture
def closed_sundays(airflow: None, repository: Path) -> Any:
    return load_project("flight_delays", root=repository, overrides=["schedule.closed.weekdays=[sunday]"])


def starts(table: Any, first: datetime, last: datetime, *, catchup: bool = True) -> list[datetime]:
    from airflow.timetables.base import TimeRestriction

    restriction = TimeRestriction(earliest=_instant(first), latest=_instant(last), catchup=catchup)
    found: list[datetime] = []
    interval = None
    while (info := table.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)) is not None:
        interval = info.data_interval
        found.append(interval.start)
    return found


def _instant(moment: datetime) -> Any:
    import pendulum

    return pendulum.instance(moment)


def test_the_score_dag_and_the_watch_have_no_run_for_a_closed_day(closed_sundays: Any) -> None:
    from tallywright.orchestration.dags import model_dag

    zone = ZoneInfo("America/New_York")
    first, last = datetime(2013, 3, 8, tzinfo=zone), datetime(2013, 3, 13, tzinfo=zone)
    for pipeline in (Pipeline.SCORE, Pipeline.WATCH):
        table = model_dag(closed_sundays, pipeline).schedule
        days = [start.astimezone(zone).date().day for start in starts(table, first, last)]
        assert days == [8, 9, 11, 12]  # the clocks change on Sunday the 10th
    table = model_dag(closed_sundays, Pipeline.MAINTAIN).schedule
    assert type(table).__name__ == "CronDataIntervalTimetable"


def test_a_model_without_a_calendar_keeps_airflows_own_timetable(dags: dict[str, Any]) -> None:
    assert type(dags["flight_delays__score"].schedule).__name__ == "CronDataIntervalTimetable"


@given(
    zone=st.sampled_from(ZONES),
    weekdays=st.frozensets(st.integers(0, 6), max_size=6),
    offsets=st.frozensets(st.integers(0, 20), max_size=10),
    hour=st.integers(0, 23),
    first=st.dates(date(2024, 2, 20), date(2025, 12, 31)),
)
def test_the_runs_are_the_open_dates_in_every_zone(zone, weekdays, offsets, hour, first) -> None:
    from tallywright.orchestration.timetable import OpenPeriodsTimetable

    calendar = Calendar(weekdays, frozenset(first + timedelta(days=number) for number in offsets))
    last = first + timedelta(days=20)
    table = OpenPeriodsTimetable(f"30 {hour} * * *", zone, calendar)
    place = ZoneInfo(zone)
    low = datetime(first.year, first.month, first.day, tzinfo=place).astimezone(UTC)
    high = datetime(last.year, last.month, last.day, 23, 59, 59, tzinfo=place).astimezone(UTC)
    found = [start.astimezone(place).date() for start in starts(table, low, high)]
    assert found == calendar.open_between(first, last)
    assert OpenPeriodsTimetable.deserialize(table.serialize()) == table


def test_without_catchup_the_last_open_date_is_run_after_closed_ones(airflow: None) -> None:
    from airflow.timetables.base import TimeRestriction

    from tallywright.orchestration.timetable import OpenPeriodsTimetable

    today = datetime.now(UTC).date()  # Airflow asks the clock
    closed = frozenset(today - timedelta(days=number) for number in range(4))
    table = OpenPeriodsTimetable("0 0 * * *", "UTC", Calendar(dates=closed))
    restriction = TimeRestriction(earliest=None, latest=None, catchup=False)
    info = table.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert info is not None
    assert info.data_interval.start.date() == today - timedelta(days=4)


def test_the_distribution_tells_airflow_of_the_timetable(airflow: None, repository: Path) -> None:
    from tallywright.orchestration.timetable import OpenPeriodsTimetable, TallywrightPlugin

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["airflow.plugins"] == {
        "tallywright": f"{TallywrightPlugin.__module__}:{TallywrightPlugin.__name__}"
    }
    assert TallywrightPlugin.timetables == [OpenPeriodsTimetable]
