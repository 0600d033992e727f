"""The calendar of a model: its score periods, in order, and which of them are closed.

Everybody who walks over periods asks here: scheduling, ingest, training windows, watch, decisions and the report. A
period is an hour, a day, a week (its Monday stands for it) or a month (its first). A closed period has no data by
nature: it is neither missing nor empty; keys that end in `_days` count it all the same, those in `_periods` do not.
"""

from __future__ import annotations

import csv
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import field_validator

from tallywright.errors import SpecError
from tallywright.score_period import Hour, date_of
from tallywright.spec.base import RelativePath, Section
from tallywright.spec.values import AnyDay, Whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: Final[tuple[str, ...]] = get_args(Weekday)
Cadence = Literal["hour", "day", "week", "month", "business-day"]
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_INSTANT: Final = timedelta(microseconds=1)
_HOURS_A_DAY: Final = 24
_WEEKEND: Final = frozenset({5, 6})
_HEADER: Final = "date"
_HOUR_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})")
_MONTH_TEXT: Final = re.compile(r"[0-9]{4}-[0-9]{2}")


class Closed(Section):
    """The score periods that have no data by nature: nothing is scheduled, required, or alarmed about on them."""

    weekdays: tuple[Weekday, ...] = ()
    """Weekdays, such as `[saturday, sunday]`."""
    dates: tuple[AnyDay, ...] = ()
    """Single dates, such as `[2025-12-25]`."""
    file: RelativePath | None = None
    """A CSV table in the model's folder: a header line, and the closed dates (YYYY-MM-DD) in its column `date`; other
    columns, such as a name, are not read."""
    hours: tuple[Whole, ...] = ()
    """Of an hourly model: hours of the local clock, such as `[0, 1, 2, 3]`."""

    @field_validator("weekdays")
    @classmethod
    def _leaves_a_day(cls, value: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if set(value) == set(WEEKDAYS):
            raise ValueError("every weekday is closed, so nothing could ever be scored; leave one open")
        return value

    @field_validator("hours")
    @classmethod
    def _leaves_an_hour(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if wrong := [hour for hour in value if not 0 <= hour < _HOURS_A_DAY]:
            raise ValueError(f"hours of the clock lie between 0 and 23; found {wrong}")
        if len(set(value)) == _HOURS_A_DAY:
            raise ValueError("every hour is closed, so nothing could ever be scored; leave one open")
        return value

    def read(self, folder: Path) -> Closed:
        """The same with the dates of its file among `dates`.

        Raises:
            SpecError: The file is missing, has no column `date`, or holds something else than dates in it.
        """
        if self.file is None:
            return self
        found = _dates_in(folder / self.file)
        return self.model_copy(update={"dates": tuple(sorted({*self.dates, *found}))})


def _dates_in(file: Path) -> set[date]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"schedule.closed.file: {file}: {error}", expected="a readable CSV file") from error
    found = set()
    for line, row in enumerate(rows, start=2):
        value = (row.get(_HEADER) or "").strip()
        try:
            found.add(date.fromisoformat(value))
        except ValueError as error:
            raise SpecError(
                f"schedule.closed.file: {file}, line {line}: found {value!r} in the column `{_HEADER}`",
                expected=f"a header with `{_HEADER}`, and a date written YYYY-MM-DD in each line",
            ) from error
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time in business time.

    Attributes:
        length: How long.
        unit: `days`, whatever the cadence, open or closed; or open `periods`.
    """

    length: int
    unit: Literal["days", "periods"] = "days"

    def __str__(self) -> str:
        return f"{self.length} {self.unit[:-1] if self.length == 1 else self.unit}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """The score periods of a model.

    A period is a `date`: of a day itself, of a week its Monday, of a month its first; an hour is an `Hour`.

    Attributes:
        weekdays: Closed weekdays, Monday is 0.
        dates: Closed dates.
        hours: Closed hours of the local clock.
        cadence: What a period is, and is called: `hour`, `day`, `week` or `month`.
        timezone: The zone of its dates and hours.
    """

    weekdays: frozenset[int] = frozenset()
    dates: frozenset[date] = frozenset()
    hours: frozenset[int] = frozenset()
    cadence: Cadence = "day"
    timezone: str = "UTC"

    @classmethod
    def of(cls, closed: Closed, cadence: Cadence = "day", timezone: str = "UTC") -> Calendar:
        """The calendar of a spec's section; `business-day` is `day` without Saturdays and Sundays."""
        weekdays = frozenset(WEEKDAYS.index(name) for name in closed.weekdays)
        if cadence == "business-day":
            cadence, weekdays = "day", weekdays | _WEEKEND
        return cls(weekdays, frozenset(closed.dates), frozenset(closed.hours), cadence, timezone)

    @property
    def is_hourly(self) -> bool:
        """True when the periods are hours."""
        return self.cadence == "hour"

    @property
    def unit(self) -> str:
        """The unit of evidence: of hours the local `day`, else the period."""
        return "day" if self.is_hourly else self.cadence

    @property
    def noun(self) -> str:
        """What a period is called: `day` (a business day too), `hour`, `week` or `month`."""
        return self.cadence if self.cadence in ("hour", "week", "month") else "day"

    @property
    def has_closed(self) -> bool:
        """True when some periods may be closed."""
        return bool(self.weekdays or self.dates or self.hours)

    @property
    def of_days(self) -> Calendar:
        """The local dates of its zone, for what is about a date and no period."""
        return Calendar(timezone=self.timezone)

    # ---- from instants and dates to periods ----

    def period_at(self, instant: datetime) -> date:
        """The period that an instant (with a zone) belongs to.

        Hours begin where the zone's own clock shows a full hour, which may be 30 or 45 minutes past one of UTC.
        """
        local = instant.astimezone(ZoneInfo(self.timezone))
        if self.is_hourly:
            past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            return Hour(local, instant.astimezone(UTC) - past)
        # Airflow's instants have dates of a type of their own.
        return self._first_date(date(local.year, local.month, local.day))

    def first_on(self, day: date) -> date:
        """The period that the beginning of a local date belongs to."""
        return self.period_at(start_of_day(day, self.timezone)) if self.is_hourly else self._first_date(day)

    def last_on(self, day: date) -> date:
        """The period that the end of a local date belongs to."""
        last = end_of_day(day, self.timezone) - _INSTANT
        return self.period_at(last) if self.is_hourly else self._first_date(day)

    def last_open_on(self, day: date) -> date:
        """The last open hour of a local date, as long as it has one; else as `last_on`."""
        last = found = self.last_on(day)
        while self.is_hourly and not self.is_open(found) and date_of(found) == day:
            found = self.previous(found)
        return found if date_of(found) == day else last

    def over_on(self, day: date) -> date:
        """The last period that is over when a local date is."""
        last = self.last_on(day)
        return last if self.last_date(last) <= day else self.previous(last)

    def from_date(self, day: date) -> date:
        """The first period that begins on a local date or later."""
        first = self.first_on(day)
        return first if date_of(first) >= day else self.next(first)

    def parse(self, text: str) -> date:
        """The period that a text names: `2025-03-30T01:00Z`, `2025-03-30`, of a month also `2025-03`.

        Raises:
            ValueError: It names none; says what was expected.
        """
        if self.is_hourly:
            return self._parse_hour(text)
        if self.cadence == "month" and _MONTH_TEXT.fullmatch(text):
            text += "-01"
        day = parse_day(text)
        if day is None:
            raise ValueError(f"{text!r} is not a date; expected {self.form}")
        return self.require(day)

    def ends(self, text: str) -> tuple[date, date]:
        """The first and last period that a text names: one and the same, but where periods are hours a date names all.

        Raises:
            ValueError: As `parse`.
        """
        day = parse_day(text) if self.is_hourly else None
        if day is not None:
            return self.first_on(day), self.last_on(day)
        period = self.parse(text)
        return period, period

    def require(self, period: date) -> date:
        """The period itself.

        Raises:
            ValueError: The date stands for no period; names the one that it lies in.
        """
        if self.is_hourly:
            if isinstance(period, Hour) and self.period_at(period.instant) == period:
                return period
            raise ValueError(f"{period} is no hour of {self.timezone}; expected {self.form}")
        if isinstance(period, Hour):
            raise ValueError(f"{period} is an hour; expected {self.form}")  # noqa: TRY004 - a form of text
        first = self._first_date(period)
        if first == period:
            return period
        raise ValueError(f"{period} lies in the {self.cadence} of {first}; expected {self.form}")

    def is_period(self, period: date) -> bool:
        """True when a period begins on the date, or with the hour."""
        try:
            return self.require(period) == period
        except ValueError:
            return False

    def _parse_hour(self, text: str) -> date:
        found = None
        if _HOUR_TEXT.fullmatch(text):
            try:
                found = datetime.fromisoformat(text)
            except ValueError:
                found = None
        if found is None:
            lacks = _HOUR_TEXT.fullmatch(f"{text}Z") is not None
            zone = ": its zone is missing, `Z` or an offset such as +02:00" if lacks else ""
            raise ValueError(f"{text!r} is not an hour{zone}; expected {self.form}")
        hour = self.period_at(found)
        assert isinstance(hour, Hour)  # noqa: S101 - the calendar is hourly
        if hour.instant != found:
            raise ValueError(f"{text!r} lies in the hour {hour}; expected {self.form}")
        return hour

    @property
    def form(self) -> str:
        """How a period is written."""
        forms = {
            "hour": "the instant at which an hour begins, such as 2025-03-30T01:00Z",
            "week": "the Monday of a week, such as 2025-03-31",
            "month": "the first of a month, such as 2025-03-01 (or 2025-03)",
        }
        return forms.get(self.cadence, "YYYY-MM-DD, such as 2025-03-30")

    def _first_date(self, day: date) -> date:
        if self.cadence == "week":
            return day - day.weekday() * _DAY
        return day.replace(day=1) if self.cadence == "month" else day

    # ---- from periods to dates and instants ----

    def last_date(self, period: date) -> date:
        """The last local date of a period."""
        if self.cadence == "week":
            return period + 6 * _DAY
        if self.cadence == "month":
            return period.replace(day=monthrange(period.year, period.month)[1])
        return date_of(period)

    def start(self, period: date) -> datetime:
        """The instant (UTC) at which a period begins."""
        return period.instant if isinstance(period, Hour) else start_of_day(period, self.timezone)

    def end(self, period: date) -> datetime:
        """The instant (UTC) at which a period is over."""
        return self.start(self.next(period))

    # ---- in order ----

    def next(self, period: date) -> date:
        """The period after this one, open or closed; where clocks change, the doubled hour is two, the missing none."""
        if isinstance(period, Hour):
            return self.period_at(period.instant + _HOUR)
        return self.last_date(period) + _DAY

    def previous(self, period: date) -> date:
        """The period before this one, open or closed."""
        if isinstance(period, Hour):
            return self.period_at(period.instant - _HOUR)
        return self._first_date(period - _DAY)

    def between(self, first: date, last: date) -> Iterator[date]:
        """Each period of the range, both ends included, open or closed."""
        while first <= last:
            yield first
            first = self.next(first)

    def is_open(self, period: date) -> bool:
        """True when data are expected for the period."""
        return not self.why_closed(period)

    def why_closed(self, period: date) -> str:
        """The rule that closes a period, such as `sunday in schedule.closed`; empty for an open one.

        A week or month is closed when each of its dates is.
        """
        if not self.has_closed:
            return ""
        rules = [self._why_closed(day) for day in days_between(date_of(period), self.last_date(period))]
        if all(rules):
            return rules[0] if len(set(rules)) == 1 else "every date of it in schedule.closed"
        if isinstance(period, Hour):
            hour = period.instant.astimezone(ZoneInfo(self.timezone)).hour
            return f"hour {hour} in schedule.closed" if hour in self.hours else ""
        return ""

    def _why_closed(self, day: date) -> str:
        if day in self.dates:
            return "a date in schedule.closed"
        return f"{WEEKDAYS[day.weekday()]} in schedule.closed" if day.weekday() in self.weekdays else ""

    def next_open(self, period: date) -> date:
        """The first open period after this one."""
        return next(self._open_from(period, forwards=True))

    def previous_open(self, period: date) -> date:
        """The last open period before this one."""
        return next(self._open_from(period, forwards=False))

    def _open_from(self, period: date, *, forwards: bool) -> Iterator[date]:
        step = self.next if forwards else self.previous
        while True:
            period = step(period)
            if self.is_open(period):
                yield period

    def open_between(self, first: date, last: date) -> list[date]:
        """The open periods of a range, both ends included, in order."""
        return [one for one in self.between(first, last) if self.is_open(one)]

    def closed_between(self, first: date, last: date) -> list[date]:
        """The closed periods of a range, both ends included, in order."""
        return [one for one in self.between(first, last) if not self.is_open(one)]

    # ---- lengths of time ----

    def after(self, period: date, span: Span) -> date:
        """The period at whose end the span has passed since the end of this one.

        Of days, it is the period that the last of these days ends in.
        """
        if span.unit == "days":
            return self.last_on(self.last_date(period) + span.length * _DAY)
        return (
            period if not span.length else next(islice(self._open_from(period, forwards=True), span.length - 1, None))
        )

    def settled(self, period: date, span: Span) -> date:
        """The period as of which something is final of which that is said a span after this one: as `after`.

        The unit of evidence of hours is the local date, so it is the last open hour of the date.
        """
        found = self.after(period, span)
        return self.last_open_on(date_of(found)) if self.is_hourly else found

    def before(self, period: date, span: Span) -> date:
        """The last period of which the span has passed at the end of this one: the last with `after` not later."""
        if span.unit == "days":
            over = self.last_date(period)
            if period != self.last_on(over):
                over -= _DAY
            return self.over_on(over - span.length * _DAY)
        if not span.length:
            return period
        period = period if self.is_open(period) else self.previous_open(period)
        return next(islice(self._open_from(period, forwards=False), span.length - 1, None))

    def first_of(self, last: date, span: Span) -> date:
        """The first period of a window that ends with this one: it holds at least so many days, or open periods."""
        if span.unit == "days":
            return self.first_on(self.last_date(last) - (span.length - 1) * _DAY)
        if span.length == 1 and self.is_open(last):
            return last
        back = span.length - 1 if self.is_open(last) else span.length
        return next(islice(self._open_from(last, forwards=False), back - 1, None))

    def lookback(self, period: date, span: Span) -> date:
        """The first period that begins at most a span before this one."""
        if span.unit == "days":
            return self.from_date(date_of(period) - span.length * _DAY)
        return self.first_of(self.previous(period), span) if span.length else period

    def ends_its_date(self, period: date) -> bool:
        """True unless it is an hour that is followed by an open hour of its date."""
        return not self.is_hourly or period >= self.last_open_on(date_of(period))


EVERY_DAY: Final = Calendar()


def parse_day(text: str) -> date | None:
    """The date that a text names as YYYY-MM-DD; None for other forms of ISO, such as 20130308 and 2013-W10-5."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.isoformat() == text else None


def start_of_day(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which a local date begins in a time zone."""
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def end_of_day(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which a local date is over in a time zone."""
    return start_of_day(day + _DAY, timezone)


def days_between(first: date, last: date) -> Iterator[date]:
    """Each date of the range, both ends included, open or closed."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def shifts_by_whole_hours(timezone: str, first: date, last: date) -> bool:
    """True when a zone's clock changes by whole hours alone between two dates, as hourly periods need."""
    zone = ZoneInfo(timezone)
    # A change of the clock holds for weeks.
    days = islice(days_between(first, last), None, None, 7)
    offsets = (datetime.combine(day, time(12), tzinfo=zone).utcoffset() for day in days)
    return len({(offset or timedelta()) % _HOUR for offset in offsets}) <= 1
