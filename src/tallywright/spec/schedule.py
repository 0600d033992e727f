"""The section `schedule` of `model.yaml`: what a period is, when it is scored, and by when."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from tallywright.score_period import date_of
from tallywright.spec.base import Section
from tallywright.spec.calendar import Cadence, Calendar, Closed, shifts_by_whole_hours
from tallywright.spec.values import LONGEST_URI, Clock, Cron, Day, Whole

_MINUTES_A_DAY: Final = 24 * 60
_CRONS: Final = {
    "hour": ("minute * * * *", "5 * * * *"),
    "day": ("minute hour * * *", "0 4 * * *"),
    "business-day": ("minute hour * * *", "0 4 * * *"),
    "week": ("minute hour * * weekday", "0 4 * * 1"),
    "month": ("minute hour day * *, the day at most 28", "0 4 1 * *"),
}
"""By cadence: the form of a cron that comes once a period, and the one that is taken when none is given."""
_MOST_MONTH_DAY: Final = 28
_NO_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})
"""Files among the zones that are none of their own."""
_YEARS_AHEAD: Final = timedelta(days=20 * 366)


class Schedule(Section):
    """When the score DAG runs, what a period is, and by when it must be scored."""

    cadence: Cadence = "day"
    """What is scored at once: an hour, a day, a week (from Monday) or a month; `business-day` is a day that is no
    Saturday or Sunday."""
    cron: Cron = "0 4 * * *"
    """Five-field cron in `timezone`, once a period; each run covers the period before it. Without it, an hourly model
    runs at `5 * * * *`, a weekly one at `0 4 * * 1`, a monthly one at `0 4 1 * *`."""
    timezone: str = Field(default="UTC", max_length=100)
    start_date: Day
    """The first score date: the first period is the first one that begins on it or later."""
    end_date: Day | None = None
    """The last score date; historical data need one, so that nothing is scheduled today."""
    deadline: Clock = time(6, 0)
    """Local time by which a period must be scored, on the day of the run: of a daily model, the day after the score
    date. Later than the cron's. Of an hourly model, the minutes after the hour's end (without it, `00:30`)."""
    closed: Closed = Closed()
    after: Annotated[
        str, Field(pattern=r"^([a-z][a-z0-9_]*__[a-z_]+|[a-z][a-z0-9+.-]*://.+)?$", max_length=LONGEST_URI)
    ] = ""
    """A run waits for this, until the deadline: a table of the lake by its name, such as `weather__features`, which
    must hold the period; or an Airflow asset by its URI, which must have had an event since the period's end."""
    catch_up: Whole = Field(default=7, ge=0, le=366)
    """After an outage the newest run has so many of the open periods that were missed, the latest ones, scored by the
    backfill DAG; older ones are recorded as missed. 0 records them all."""

    @model_validator(mode="before")
    @classmethod
    def _times_of_the_cadence(cls, values: Any) -> Any:
        """Gives cron and deadline the default of the cadence where they are not given."""
        cadence = values.get("cadence") if isinstance(values, dict) else None
        if not isinstance(cadence, str) or cadence not in _CRONS:
            return values
        times = {"cron": _CRONS[cadence][1]} | ({"deadline": "00:30"} if cadence == "hour" else {})
        return times | values

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value in _NO_ZONES or value.startswith(("posix/", "right/")):
            raise ValueError(f"{value} is another zone on another machine, or counts leap seconds; "
                             "expected an IANA name such as 'Europe/Berlin'")  # fmt: skip
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no such timezone: {value!r}; expected an IANA name such as 'Europe/Berlin'") from error
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if self.end_date is not None and self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} is before start_date {self.start_date}")
        return self

    @model_validator(mode="after")
    def _once_a_period(self) -> Schedule:
        minute, hour, day, month, weekday = self.cron.split()
        fits = {
            "hour": minute.isdigit() and [hour, day, month, weekday] == ["*"] * 4,
            "week": minute.isdigit() and hour.isdigit() and weekday.isdigit() and [day, month] == ["*"] * 2,
            "month": minute.isdigit() and hour.isdigit() and day.isdigit() and int(day) <= _MOST_MONTH_DAY
            and [month, weekday] == ["*"] * 2,
        }.get(self.cadence, minute.isdigit() and hour.isdigit() and [day, month, weekday] == ["*"] * 3)  # fmt: skip
        if not fits:
            form, example = _CRONS[self.cadence]
            raise ValueError(
                f"schedule.cron {self.cron!r} does not fit schedule.cadence {self.cadence}: it must come once a period "
                f"({form}), such as {example!r}"
            )
        return self

    @model_validator(mode="after")
    def _closed_fits_the_cadence(self) -> Schedule:
        closed = self.closed
        if closed.hours and self.cadence != "hour":
            raise ValueError(f"schedule.closed.hours means nothing to a model whose periods are a {self.cadence}")
        if closed.weekdays and self.cadence in ("week", "month"):
            raise ValueError(
                f"schedule.closed.weekdays closes no {self.cadence}: a {self.cadence} is closed when all its dates are"
            )
        if len(self.calendar.weekdays) == 7:  # noqa: PLR2004 - all of a week
            raise ValueError("every business day is closed, so nothing could ever be scored; leave one open")
        return self

    @model_validator(mode="after")
    def _hours_are_whole(self) -> Schedule:
        last = self.end_date or self.start_date + _YEARS_AHEAD
        if self.cadence == "hour" and not shifts_by_whole_hours(self.timezone, self.start_date, last):
            raise ValueError(
                f"the clocks of {self.timezone} change by half an hour, so not all of its hours have 60 minutes; use "
                "another zone, such as UTC"
            )
        return self

    @model_validator(mode="after")
    def _deadline_after_cron(self) -> Schedule:
        minute = int(self.cron.split()[0])
        if self.cadence == "hour":
            return self._within_the_hour(minute)
        hour = int(self.cron.split()[1])
        starts, due = hour * 60 + minute, self.deadline.hour * 60 + self.deadline.minute
        if due > starts:
            return self
        earliest = starts + 1
        possible = f"the earliest possible deadline is {earliest // 60:02}:{earliest % 60:02}"
        if earliest >= _MINUTES_A_DAY:
            possible = "no deadline of that day is later, so start earlier"
        raise ValueError(
            f"schedule.deadline {self.deadline:%H:%M} cannot be met: schedule.cron {self.cron!r} starts the run at "
            f"{hour:02}:{minute:02} of the same day; {possible}"
        )

    def _within_the_hour(self, minute: int) -> Schedule:
        if self.deadline.hour == 0 and self.deadline.minute > minute:
            return self
        raise ValueError(
            f"schedule.deadline {self.deadline:%H:%M} does not fit an hourly model: schedule.cron {self.cron!r} starts "
            f"the run {minute} minutes after the hour; give minutes after the hour's end, from 00:{minute + 1:02} to "
            "00:59" + ("" if minute < 59 else ", so start earlier")  # noqa: PLR2004 - the last minute of an hour
        )

    @property
    def deadline_cron(self) -> str:
        """When a period is due: the cron, with the time of the deadline in place of its own."""
        minute, hour = str(self.deadline.minute), str(self.deadline.hour)
        return " ".join([minute, "*" if self.cadence == "hour" else hour, *self.cron.split()[2:]])

    @property
    def calendar(self) -> Calendar:
        """The score periods: what they are, and which are open."""
        return Calendar.of(self.closed, self.cadence, self.timezone)

    @property
    def first_period(self) -> date:
        """The first period that may be scored."""
        return self.calendar.from_date(self.start_date)

    @property
    def after_asset(self) -> bool:
        """True when a run waits for an Airflow asset; else for a table of the lake, or for nothing."""
        return "://" in self.after

    @property
    def longest_wait(self) -> timedelta:
        """The time from the start of a scheduled run to its deadline."""
        minute, hour = self.cron.split()[:2]
        started = timedelta(hours=0 if self.cadence == "hour" else int(hour), minutes=int(minute))
        return timedelta(hours=self.deadline.hour, minutes=self.deadline.minute) - started

    def due(self, period: date) -> datetime:
        """The instant (UTC) of a period's deadline, on the day of its run."""
        calendar = self.calendar
        if calendar.is_hourly:
            return calendar.end(period) + timedelta(minutes=self.deadline.minute)
        day, (_, _, monthday, _, weekday) = calendar.last_date(period) + timedelta(days=1), self.cron.split()
        if self.cadence == "week":
            day += timedelta(days=(int(weekday) - day.isoweekday()) % 7)
        elif self.cadence == "month":
            day = day.replace(day=int(monthday))
        return datetime.combine(day, self.deadline, tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def covers(self, period: date) -> bool:
        """True when the period (or date) may be scored at all."""
        day = date_of(period)
        return self.start_date <= day and (self.end_date is None or day <= self.end_date)
