"""The calendar: which score dates are open, where that stands in the spec, and what a spec may not say."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_project

from tallywright.errors import SpecError
from tallywright.spec import load_project
from tallywright.spec.calendar import WEEKDAYS, Calendar, Span

if TYPE_CHECKING:
    from pathlib import Path

DATES = st.dates(date(2024, 1, 1), date(2026, 12, 31))
CALENDARS = st.builds(
    Calendar,
    weekdays=st.frozensets(st.integers(0, 6), max_size=6),
    dates=st.frozensets(DATES, max_size=20),
)


@given(CALENDARS, DATES)
def test_next_and_previous_are_the_nearest_open_dates(calendar: Calendar, day: date) -> None:
    later, earlier = calendar.next_open(day), calendar.previous_open(day)
    assert earlier < day < later
    assert calendar.is_open(later)
    assert calendar.is_open(earlier)
    assert calendar.open_between(day + timedelta(days=1), later) == [later]
    assert calendar.open_between(earlier, day - timedelta(days=1)) == [earlier]
    if calendar.is_open(day):
        assert calendar.previous_open(later) == calendar.next_open(earlier) == day


@given(CALENDARS, DATES, st.integers(0, 40))
def test_every_date_is_open_or_closed_and_says_why(calendar: Calendar, first: date, days: int) -> None:
    last = first + timedelta(days=days)
    opened, closed = calendar.open_between(first, last), calendar.closed_between(first, last)
    assert sorted([*opened, *closed]) == [first + timedelta(days=number) for number in range(days + 1)]
    assert all(calendar.why_closed(day) == "" for day in opened)
    assert all("schedule.closed" in calendar.why_closed(day) for day in closed)


def spec_of(root: Path, table: str | None = None, **closed: Any) -> Calendar:
    make_project(root)
    if table is not None:
        (root / "models/shop/holidays.csv").write_text(table, encoding="utf-8")
    sets = [f"schedule.closed.{key}={value}" for key, value in closed.items()]
    return load_project("shop", root=root, environment="local", overrides=sets).spec.schedule.calendar


def test_the_three_ways_to_close_a_date_add_up(tmp_path: Path) -> None:
    table = "date,name\n2024-03-06,a holiday\n2024-03-07,another\n"
    calendar = spec_of(tmp_path, table, weekdays="[sunday]", dates="[2024-03-05]", file="holidays.csv")
    first, last = date(2024, 3, 3), date(2024, 3, 9)
    assert [day.day for day in calendar.closed_between(first, last)] == [3, 5, 6, 7]
    assert WEEKDAYS[first.weekday()] == "sunday"


@pytest.mark.parametrize(
    ("table", "closed", "message"),
    [
        (None, {"file": "holidays.csv"}, "holidays.csv"),
        ("day\n2024-03-06\n", {"file": "holidays.csv"}, "line 2: found '' in the column `date`"),
        ("date\n2024-03-06\n6 March\n", {"file": "holidays.csv"}, "line 3: found '6 March'"),
        (None, {"file": "../holidays.csv"}, "below the model's folder"),
        (None, {"weekdays": "[sundays]"}, "sundays"),
        (None, {"weekdays": f"[{','.join(WEEKDAYS)}]"}, "leave one open"),
        (None, {"dates": "[2024-02-30]"}, "2024-02-30"),
        (None, {"day": "[sunday]"}, "unknown key"),
    ],
)
def test_a_calendar_that_cannot_be_meant_is_refused(tmp_path: Path, table, closed, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("[", r"\[")):
        spec_of(tmp_path, table, **closed)


@pytest.mark.parametrize(
    ("cron", "deadline", "possible"),
    [
        ("0 4 * * *", "02:00", "04:01"),
        ("0 4 * * *", "04:00", "04:01"),
        ("59 5 * * *", "05:59", "06:00"),
        ("30 23 * * *", "06:00", "23:31"),
        ("59 23 * * *", "23:59", "start earlier"),
    ],
)
def test_a_deadline_that_cannot_be_met_names_both_keys_the_time_and_the_earliest(
    tmp_path: Path, cron: str, deadline: str, possible: str
) -> None:
    make_project(tmp_path)
    sets = [f'schedule.cron="{cron}"', f'schedule.deadline="{deadline}"']
    with pytest.raises(SpecError) as refused:
        load_project("shop", root=tmp_path, environment="local", overrides=sets)
    minute, hour = cron.split()[:2]
    for text in ("schedule.deadline", "schedule.cron", f"{int(hour):02}:{int(minute):02}", possible):
        assert text in str(refused.value)


def test_a_deadline_a_minute_after_the_cron_is_possible(tmp_path: Path) -> None:
    make_project(tmp_path)
    load_project("shop", root=tmp_path, environment="local", overrides=['schedule.deadline="04:01"'])


def test_labels_cannot_mature_while_they_are_waited_for(tmp_path: Path) -> None:
    make_project(tmp_path)
    sets = ["data.label_maturity_days=3"]
    assert load_project("shop", root=tmp_path, environment="local", overrides=sets).spec.data.label_wait == Span(3)
    with pytest.raises(SpecError, match="label_wait_days 2 is less than label_maturity_days 3"):
        load_project("shop", root=tmp_path, environment="local", overrides=[*sets, "data.label_wait_days=2"])
