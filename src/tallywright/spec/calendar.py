"""The calendar of a model: which score periods are open, and which are closed because they have no data by nature.

Everybody who walks over periods asks here: scheduling, ingest, training windows, watch, decisions and the report. A
closed period is neither missing nor empty; keys that end in `_days` count it all the same.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import field_validator

from tallywright.errors import SpecError
from tallywright.spec.base import RelativePath, Section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: Final[tuple[str, ...]] = get_args(Weekday)
_DAY: Final = timedelta(days=1)
_HEADER: Final = "date"


class Closed(Section):
    """The score dates that have no data by nature: nothing is scheduled, required, or alarmed about on them."""

    weekdays: tuple[Weekday, ...] = ()
    """Weekdays, such as `[saturday, sunday]`."""
    dates: tuple[date, ...] = ()
    """Single dates, such as `[2025-12-25]`."""
    file: RelativePath | None = None
    """A CSV table in the model's folder: a header line, and the closed dates (YYYY-MM-DD) in its column `date`; other
    columns, such as a name, are not read."""

    @field_validator("weekdays")
    @classmethod
    def _leaves_a_day(cls, value: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if set(value) == set(WEEKDAYS):
            raise ValueError("every weekday is closed, so nothing could ever be scored; leave one open")
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
class Calendar:
    """Which score dates are open.

    Attributes:
        weekdays: Closed weekdays, Monday is 0.
        dates: Closed dates.
    """

    weekdays: frozenset[int] = frozenset()
    dates: frozenset[date] = frozenset()

    @classmethod
    def of(cls, closed: Closed) -> Calendar:
        """The calendar of a spec's section."""
        return cls(frozenset(WEEKDAYS.index(name) for name in closed.weekdays), frozenset(closed.dates))

    def is_open(self, day: date) -> bool:
        """True when data are expected for the date."""
        return day not in self.dates and day.weekday() not in self.weekdays

    def why_closed(self, day: date) -> str:
        """The rule that closes a date, such as `sunday in schedule.closed`; empty for an open one."""
        if day in self.dates:
            return "a date in schedule.closed"
        if day.weekday() in self.weekdays:
            return f"{WEEKDAYS[day.weekday()]} in schedule.closed"
        return ""

    def next_open(self, day: date) -> date:
        """The first open date after this one."""
        return next(found for found in _steps(day, _DAY) if self.is_open(found))

    def previous_open(self, day: date) -> date:
        """The last open date before this one."""
        return next(found for found in _steps(day, -_DAY) if self.is_open(found))

    def open_between(self, first: date, last: date) -> list[date]:
        """The open dates of a range, both ends included, in order."""
        return [day for day in days_between(first, last) if self.is_open(day)]

    def closed_between(self, first: date, last: date) -> list[date]:
        """The closed dates of a range, both ends included, in order."""
        return [day for day in days_between(first, last) if not self.is_open(day)]


def end_of_day(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which a business day is over in a time zone."""
    return datetime.combine(day + _DAY, time.min, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def days_between(first: date, last: date) -> Iterator[date]:
    """Each date of the range, both ends included, open or closed."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def _steps(day: date, step: timedelta) -> Iterator[date]:
    while True:
        day += step
        yield day
