"""The business date of a run: one function for scheduled, manual, asset-triggered and backfill runs.

Asset-triggered, partitioned and date-less manual runs have no data interval, and a form may hold anything a person
(or a program) typed. So a date is taken from exactly one place, in a fixed order, read strictly, and refused when the
schedule does not cover it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.spec.calendar import Calendar
    from tallywright.spec.schedule import Schedule

DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
HOUR_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$"
_PERIOD = re.compile(r"[0-9TZ:+-]{7,22}")
_PARTITION = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(T[0-9]{2}:[0-9]{2}:[0-9]{2})?")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The facts of a run that determine its date; any of them can be missing.

    Attributes:
        date: The form's `date`, as typed.
        partition_key: The key of a partitioned run.
        data_interval_start: The start of the run's data interval, with a zone.
    """

    date: object = None
    partition_key: object = None
    data_interval_start: datetime | None = None

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> RunFacts:
        """The facts in an Airflow task context; keys that a kind of run lacks count as missing."""
        params = context.get("params") or {}
        return cls(
            date=params.get("date"),
            partition_key=getattr(context.get("dag_run"), "partition_key", None),
            data_interval_start=context.get("data_interval_start"),
        )

    def shown(self, source: str) -> object:
        """The fact of that name, for the log."""
        return {"params.date": self.date, "partition_key": self.partition_key}.get(source, self.data_interval_start)


def run_period(facts: RunFacts, schedule: Schedule) -> date:
    """The score period of a run; see `dated`."""
    return dated(facts, schedule, periodic=True)[0]


def dated(facts: RunFacts, schedule: Schedule, *, periodic: bool) -> tuple[date, str]:
    """The business date of a run, and from what: the form's date, else the partition key, else the data interval.

    The data interval counts by its start: a run at 04:00 on 3 April is about 2 April.

    Args:
        facts: What the run says.
        schedule: Its calendar makes a local date or period of an instant; its bounds are checked.
        periodic: Whether the run is about a score period, or about a date.

    Returns:
        The date or period, and the fact that it was read from, such as `data_interval_start`.

    Raises:
        UsageError: No date at all, text that is not exactly one, or one that the schedule does not cover.
    """
    day, source = _read(facts, schedule.calendar if periodic else schedule.calendar.of_days)
    if not schedule.covers(day):
        raise UsageError(
            f"{source}: {day} is outside the schedule",
            expected=f"a date from {schedule.start_date} to {schedule.end_date or 'now on'}",
            remedy="trigger the DAG with a `date` in that range",
        )
    return day, source


def parse_date(value: object, where: str) -> date:
    """Reads `YYYY-MM-DD` and nothing else: no time, no sign, no spaces, no other digits.

    Raises:
        UsageError: Anything else, shown shortened and quoted.
    """
    text = value if isinstance(value, str) else ""
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise UsageError(f"{where}: found {_shown(value)}", expected="a date written YYYY-MM-DD, such as 2013-07-01")


def parse_period(value: object, where: str, calendar: Calendar) -> date:
    """As `parse_date`, of a score period.

    Raises:
        UsageError: Anything else, shown shortened and quoted.
    """
    if calendar.cadence == "day":
        return parse_date(value, where)
    text = value if isinstance(value, str) else ""
    if not _PERIOD.fullmatch(text):
        raise UsageError(f"{where}: found {_shown(value)}", expected=calendar.form)
    try:
        return calendar.parse(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", expected=calendar.form) from error


def _read(facts: RunFacts, calendar: Calendar) -> tuple[date, str]:
    if facts.date is not None:
        return parse_period(facts.date, "params.date", calendar), "params.date"
    if facts.partition_key is not None:
        return _partition_period(facts.partition_key, calendar), "partition_key"
    start = facts.data_interval_start
    if start is None:
        raise UsageError(
            "the run has no date: no params.date, no partition key, no data interval",
            expected="one of the three",
            remedy="fill in `date` in the trigger form",
        )
    if start.tzinfo is None:
        raise UsageError(f"data_interval_start {start} has no timezone", expected="an instant")
    return calendar.period_at(start), "data_interval_start"


def _partition_period(key: object, calendar: Calendar) -> date:
    if calendar.is_hourly:
        return parse_period(key, "partition_key", calendar)
    match = _PARTITION.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        raise UsageError(f"partition_key: found {_shown(key)}", expected="YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")
    return parse_period(match.group(1), "partition_key", calendar)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
