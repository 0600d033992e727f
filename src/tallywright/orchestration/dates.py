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
from zoneinfo import ZoneInfo

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.spec.model import Schedule

DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
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


def run_date(facts: RunFacts, schedule: Schedule) -> date:
    """The business date of a run; see `dated`."""
    return dated(facts, schedule)[0]


def dated(facts: RunFacts, schedule: Schedule) -> tuple[date, str]:
    """The business date of a run, and from what: the form's date, else the partition key, else the data interval.

    The data interval counts by its start: a run at 04:00 on 3 April is about 2 April.

    Args:
        facts: What the run says.
        schedule: Its timezone makes a local date of an instant; its bounds are checked.

    Returns:
        The date, and the fact that it was read from, such as `data_interval_start`.

    Raises:
        UsageError: No date at all, text that is not exactly a date, or a date the schedule does not cover.
    """
    day, source = _read(facts, schedule)
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


def _read(facts: RunFacts, schedule: Schedule) -> tuple[date, str]:
    if facts.date is not None:
        return parse_date(facts.date, "params.date"), "params.date"
    if facts.partition_key is not None:
        return _partition_date(facts.partition_key), "partition_key"
    start = facts.data_interval_start
    if start is None:
        raise UsageError(
            "the run has no date: no params.date, no partition key, no data interval",
            expected="one of the three",
            remedy="fill in `date` in the trigger form",
        )
    if start.tzinfo is None:
        raise UsageError(f"data_interval_start {start} has no timezone", expected="an instant")
    return start.astimezone(ZoneInfo(schedule.timezone)).date(), "data_interval_start"


def _partition_date(key: object) -> date:
    match = _PARTITION.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        raise UsageError(f"partition_key: found {_shown(key)}", expected="YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS")
    return parse_date(match.group(1), "partition_key")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
