"""The timetable of a model: a run for each open date from the first to the last, and none for a closed one."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.lifecycle.plan import Pipeline
from tallywright.spec import load_project
from tallywright.spec.calendar import Calendar, Closed

ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/Berlin")


@pytest.fixture
def closed_sundays(airflow: None, repository: Path) -> Any:
    return load_project("flight_delays", root=repository, overrides=["schedule.closed.weekdays=[sunday]"])


def starts(table: Any, first: datetime, last: datetime, *, catchup: bool = True) -> list[datetime]:
    return [interval.start for interval in intervals_of(table, first, last, catchup=catchup)]


def intervals_of(table: Any, first: datetime, last: datetime, *, catchup: bool = True) -> list[Any]:
    from airflow.timetables.base import TimeRestriction

    restriction = TimeRestriction(earliest=_instant(first), latest=_instant(last), catchup=catchup)
    found: list[Any] = []
    interval = None
    while (info := table.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)) is not None:
        interval = info.data_interval
        found.append(interval)
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
    assert [start.astimezone(zone).date().day for start in starts(table, first, last)] == [10]  # weekly, on Sunday


CADENCES = {
    "hour": ("{minute} * * * *", ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns")),
    "day": ("{minute} {hour} * * *", ZONES),
    "business-day": ("{minute} {hour} * * *", ZONES),
    "week": ("{minute} {hour} * * {weekday}", ZONES),
    "month": ("{minute} {hour} {day} * *", ZONES),
}
MORE = ("day", "business-day", "month")


@pytest.mark.parametrize("cadence", ["hour", "week", *(pytest.param(one, marks=pytest.mark.long) for one in MORE)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # one configuration of Airflow serves them all
@given(data=st.data())
def test_data_intervals_and_periods_agree_in_every_zone(airflow: None, cadence: Any, data: st.DataObject) -> None:
    from airflow.timetables.interval import CronDataIntervalTimetable

    from tallywright.orchestration.timetable import OpenPeriodsTimetable

    form, zones = CADENCES[cadence]
    zone = data.draw(st.sampled_from(zones), label="zone")
    fields = {"minute": (0, 59), "hour": (0, 23), "weekday": (0, 6), "day": (1, 28)}
    cron = form.format(**{name: data.draw(st.integers(*ends), label=name) for name, ends in fields.items()})
    # Clocks change in March and in autumn; February has 29 days in 2024.
    first = data.draw(st.sampled_from([date(2024, 2, 26), date(2025, 3, 27), date(2025, 10, 24), date(2025, 12, 29)]))
    calendar = Calendar.of(Closed(), cadence, zone)
    periods = [calendar.from_date(first)]
    while len(periods) < 50:
        periods.append(calendar.next(periods[-1]))
    if not calendar.has_closed:
        assert_agree(CronDataIntervalTimetable(cron, zone), calendar, periods)
    assert_agree(OpenPeriodsTimetable(cron, zone, calendar), calendar, periods)


def assert_agree(table: Any, calendar: Calendar, periods: list[date]) -> None:
    """Each open period is that of exactly one data interval, which ends after it and not before the next one does."""
    last = calendar.end(periods[-1])
    intervals = intervals_of(table, calendar.start(periods[0]), last - timedelta(seconds=1))
    assert [calendar.period_at(interval.start) for interval in intervals] == calendar.open_between(
        periods[0], periods[-1]
    )
    for interval in intervals:
        period = calendar.period_at(interval.start)
        assert calendar.end(period) <= interval.end < calendar.end(calendar.next_open(period))


@given(
    zone=st.sampled_from(ZONES),
    weekdays=st.frozensets(st.integers(0, 6), max_size=6),
    offsets=st.frozensets(st.integers(0, 20), max_size=10),
    hour=st.integers(0, 23),
    first=st.dates(date(2024, 2, 20), date(2025, 12, 31)),
)
def test_the_runs_are_the_open_dates_in_every_zone(zone, weekdays, offsets, hour, first) -> None:
    from tallywright.orchestration.timetable import OpenPeriodsTimetable

    closed = frozenset(first + timedelta(days=number) for number in offsets)
    calendar = Calendar(weekdays, closed, timezone=zone)
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


@pytest.mark.parametrize(
    ("cadence", "cron", "end_date", "last"),
    [("week", "0 4 * * 3", "2013-03-11", date(2013, 3, 11)), ("week", "0 4 * * 0", "2013-03-15", date(2013, 3, 11)),
     ("month", "0 4 15 * *", "2013-06-10", date(2013, 6, 1)), ("day", "0 4 * * *", "2013-03-11", date(2013, 3, 11))],
)  # fmt: skip
def test_the_last_period_that_begins_by_the_end_date_has_its_run(
    airflow: None, repository: Path, cadence: str, cron: str, end_date: str, last: date
) -> None:
    from tallywright.orchestration.dags import model_dag

    sets = [f"schedule.cadence={cadence}", f"schedule.cron={cron}", f"schedule.end_date={end_date}"]
    project = load_project("flight_delays", root=repository, overrides=sets)
    for pipeline in (Pipeline.SCORE, Pipeline.WATCH):
        table, calendar = model_dag(project, pipeline).schedule, project.spec.schedule.calendar
        found = starts(table, datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
        assert calendar.period_at(found[0]) == project.spec.schedule.first_period
        assert calendar.period_at(found[-1]) == last
