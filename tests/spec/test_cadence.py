"""Score periods of every cadence: no instant is in none or in two of them, whatever the zone's clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tallywright.score_period import Hour, date_of
from tallywright.spec.calendar import Cadence, Calendar, Closed, Span
from tallywright.spec.schedule import Schedule
from tallywright.spec.sections import Data, Retraining, Training

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "America/St_Johns", "Pacific/Auckland",
         "America/Santiago", "Asia/Kolkata")  # fmt: skip
CADENCES = get_args(Cadence)
MICROSECOND = timedelta(microseconds=1)
INSTANTS = st.datetimes(datetime(2023, 12, 1), datetime(2026, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001 - with UTC
CLOSED = st.builds(
    Closed,
    weekdays=st.lists(st.sampled_from(["monday", "friday", "sunday"]), unique=True, max_size=2).map(tuple),
    dates=st.lists(st.dates(date(2023, 11, 1), date(2026, 4, 1)), max_size=5).map(tuple),
    hours=st.lists(st.integers(0, 23), unique=True, max_size=5).map(tuple),
)
SPANS = st.builds(Span, st.integers(0, 40), st.sampled_from(["days", "periods"]))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    return Calendar.of(draw(CLOSED), draw(st.sampled_from(CADENCES)), draw(st.sampled_from(ZONES)))


@given(calendars(), INSTANTS)
def test_an_instant_is_in_exactly_one_period(calendar: Calendar, instant: datetime) -> None:
    period = calendar.period_at(instant)
    assert calendar.start(period) <= instant < calendar.end(period)
    assert calendar.period_at(calendar.end(period) - MICROSECOND) == period
    assert calendar.period_at(calendar.end(period)) == calendar.next(period)
    assert calendar.previous(calendar.next(period)) == period
    assert calendar.parse(str(period)) == calendar.require(period) == period
    local = instant.astimezone(ZoneInfo(calendar.timezone)).date()
    assert date_of(period) <= local <= calendar.last_date(period)
    assert calendar.first_on(local) <= period <= calendar.last_on(local)


@given(calendars(), INSTANTS, SPANS)
def test_before_and_after_are_two_ways_to_say_that_a_span_has_passed(
    calendar: Calendar, instant: datetime, span: Span
) -> None:
    now = calendar.period_at(instant)
    last = calendar.before(now, span)
    assert calendar.after(last, span) <= now
    assert calendar.after(calendar.next(last), span) > now or not calendar.is_open(calendar.next(last))


@given(calendars(), INSTANTS, st.integers(1, 40))
def test_a_window_has_at_least_its_days_or_exactly_its_open_periods(
    calendar: Calendar, instant: datetime, length: int
) -> None:
    last = calendar.period_at(instant)
    first = calendar.first_of(last, Span(length))
    assert (calendar.last_date(last) - date_of(first)).days + 1 >= length
    if first < last:
        shorter = calendar.next(first)
        assert (calendar.last_date(last) - date_of(shorter)).days + 1 < length or calendar.is_hourly
    first = calendar.first_of(last, Span(length, "periods"))
    assert len(calendar.open_between(first, last)) == length
    assert calendar.is_open(first)


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 30), 23), (date(2025, 10, 26), 25), (date(2025, 6, 1), 24)])
def test_where_clocks_change_the_doubled_hour_is_two_and_the_missing_none(day: date, hours: int) -> None:
    calendar = Calendar(cadence="hour", timezone="Europe/Berlin")
    found = list(calendar.between(calendar.first_on(day), calendar.last_on(day)))
    assert len(found) == hours
    assert {date_of(hour) for hour in found} == {day}
    assert [calendar.end(hour) - calendar.start(hour) for hour in found] == [timedelta(hours=1)] * hours
    assert date_of(calendar.next(found[-1])) == day + timedelta(days=1)


def test_an_hour_begins_where_the_zones_clock_is_full() -> None:
    calendar = Calendar(cadence="hour", timezone="Asia/Kathmandu")
    hour = calendar.period_at(datetime(2025, 1, 1, 0, 20, tzinfo=UTC))
    assert str(hour) == "2025-01-01T00:15Z"
    assert calendar.parse("2025-01-01T06:00+05:45") == hour
    with pytest.raises(ValueError, match="lies in the hour 2025-01-01T00:15Z"):
        calendar.parse("2025-01-01T01:00Z")


@pytest.mark.parametrize(
    ("cadence", "text", "message"),
    [
        ("week", "2025-01-01", "lies in the week of 2024-12-30"),
        ("month", "2025-01-02", "lies in the month of 2025-01-01"),
        ("month", "2025-13", "is not a date"),
        ("day", "2025-W01-1", "is not a date; expected YYYY-MM-DD"),
        ("hour", "2025-01-01", "is not an hour; expected the instant"),
        ("hour", "2025-01-01T01:00", "is not an hour: its zone is missing, `Z` or an offset"),
        ("hour", "2025-02-30T01:00Z", "is not an hour"),
    ],
)
def test_what_is_no_period_says_which_it_lies_in(cadence: Cadence, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calendar(cadence=cadence).parse(text)


def test_a_month_may_be_written_without_its_day() -> None:
    assert Calendar(cadence="month").parse("2024-02") == date(2024, 2, 1)
    assert Calendar(cadence="month").last_date(date(2024, 2, 1)) == date(2024, 2, 29)


def test_a_week_or_month_is_closed_when_all_its_dates_are() -> None:
    christmas = tuple(date(2025, 12, 22) + timedelta(days=number) for number in range(7))
    weeks = Calendar.of(Closed(dates=christmas), "week")
    assert weeks.closed_between(date(2025, 12, 15), date(2026, 1, 5)) == [date(2025, 12, 22)]
    assert Calendar.of(Closed(dates=christmas[1:]), "week").is_open(date(2025, 12, 22))
    assert weeks.next_open(date(2025, 12, 15)) == date(2025, 12, 29)


def test_business_days_are_days_without_the_weekend_and_the_closed_dates() -> None:
    calendar = Calendar.of(Closed(dates=(date(2025, 4, 18), date(2025, 4, 21))), "business-day")
    assert calendar.next_open(date(2025, 4, 17)) == date(2025, 4, 22)
    assert calendar.after(date(2025, 4, 16), Span(2, "periods")) == date(2025, 4, 22)
    assert calendar.after(date(2025, 4, 16), Span(2)) == date(2025, 4, 18)
    assert calendar.why_closed(date(2025, 4, 19)) == "saturday in schedule.closed"


def test_only_the_last_open_hour_ends_its_date() -> None:
    calendar = Calendar.of(Closed(hours=(22, 23)), "hour", "Europe/Berlin")
    day = list(calendar.between(calendar.first_on(date(2025, 6, 1)), calendar.last_on(date(2025, 6, 1))))
    assert [hour for hour in day if calendar.is_open(hour) and calendar.ends_its_date(hour)] == [day[21]]
    assert Calendar().ends_its_date(date(2025, 6, 1))


START = {"start_date": date(2025, 1, 1)}


@pytest.mark.parametrize(
    ("cadence", "cron", "deadline"),
    [("hour", "5 * * * *", "00:30"), ("day", "0 4 * * *", "06:00"), ("week", "0 4 * * 1", "06:00"),
     ("month", "0 4 1 * *", "06:00"), ("business-day", "0 4 * * *", "06:00")],
)  # fmt: skip
def test_each_cadence_has_a_cron_and_a_deadline(cadence: str, cron: str, deadline: str) -> None:
    schedule = Schedule.model_validate(START | {"cadence": cadence})
    assert (schedule.cron, f"{schedule.deadline:%H:%M}") == (cron, deadline)
    assert schedule.deadline_cron.split()[2:] == cron.split()[2:]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cadence": "week", "cron": "0 4 * * *"}, "must come once a period .*such as '0 4 \\* \\* 1'"),
        ({"cadence": "month", "cron": "0 4 31 * *"}, "the day at most 28"),
        ({"cadence": "hour", "cron": "5 4 * * *"}, "must come once a period"),
        ({"cadence": "hour", "timezone": "Australia/Lord_Howe"}, "change by half an hour"),
        ({"cadence": "hour", "deadline": "00:05"}, "from 00:06 to 00:59"),
        ({"cadence": "hour", "deadline": "01:00"}, "minutes after the hour's end"),
        ({"cadence": "week", "closed": {"weekdays": ["sunday"]}}, "closes no week"),
        ({"cadence": "day", "closed": {"hours": [3]}}, "means nothing"),
        ({"cadence": "business-day", "closed": {"weekdays": ["monday", "tuesday", "wednesday", "thursday", "friday"]}},
         "every business day is closed"),
        ({"cadence": "fortnight"}, "Input should be"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_cadence_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule.model_validate(START | keys)


def test_the_first_period_begins_on_the_start_date_or_later() -> None:
    week = Schedule.model_validate(START | {"cadence": "week", "end_date": date(2025, 1, 14)})
    assert week.first_period == date(2025, 1, 6)
    assert [week.covers(day) for day in (date(2024, 12, 30), date(2025, 1, 6), date(2025, 1, 20))] == [
        False,
        True,
        False,
    ]
    hour = Schedule.model_validate(START | {"cadence": "hour", "timezone": "Europe/Berlin"}).first_period
    assert isinstance(hour, Hour)
    assert str(hour) == "2024-12-31T23:00Z"


SOURCES = {"sources": {"raw": {"path": "raw.csv"}}, "key": ["k"], "columns": {"k": "BIGINT"}}


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        (Data, SOURCES | {"lookback_days": 3, "lookback_periods": 3}, "lookback_days and lookback_periods are both"),
        (Data, SOURCES | {"label_maturity_periods": 3, "label_wait_periods": 2}, "label_wait_periods 2 is less than"),
        (Data, SOURCES | {"label_maturity_periods": 3, "label_wait_days": 5}, "give both in periods"),
        (Training, {"numeric": ["k"], "window_periods": 8}, "all in days, or all in periods"),
        (Training, {"numeric": ["k"], "window_periods": 3, "validation_periods": 3, "holdout_periods": 1}, "leaves"),
        (Retraining, {"cooldown_days": 3, "cooldown_periods": 3}, "cooldown_days and cooldown_periods are both given"),
    ],
)  # fmt: skip
def test_a_length_is_given_in_days_or_in_periods(section: type, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section.model_validate(keys)


def test_a_policy_in_days_keeps_its_identity() -> None:
    assert Retraining().identity() == Retraining(cooldown_days=14).identity()
    assert Retraining().identity() != Retraining(cooldown_periods=14).identity()


@given(calendars(), INSTANTS, SPANS)
def test_what_is_final_is_so_at_the_end_of_a_date(calendar: Calendar, instant: datetime, span: Span) -> None:
    period = calendar.period_at(instant)
    settled, after = calendar.settled(period, span), calendar.after(period, span)
    assert date_of(settled) == date_of(after)
    assert calendar.ends_its_date(settled)
    assert calendar.is_hourly or settled == after
