"""The Airflow timetable of a model: a run for each open period from the first to the last, none for a closed one.

Airflow loads it in every process through the plugin that the distribution declares (`airflow.plugins`). It knows the
first and last period itself, and the DAGs have no `start_date` and `end_date`. Airflow gives a DAG's dates to its
tasks, and makes no task in a run whose logical date lies outside of them: a run that somebody triggers today, for a
date of last year, would be green and have done nothing.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from tallywright.spec.calendar import Calendar

if TYPE_CHECKING:
    from pendulum import DateTime


class OpenPeriodsTimetable(CronDataIntervalTimetable):  # type: ignore[misc]  # airflow ships no types
    """A cron that comes once a period, and whose data intervals begin in open periods only.

    Args:
        cron: Five fields, once a period.
        timezone: Name of the zone in which the cron is read.
        calendar: Which periods are open.
        first: The earliest instant at which a data interval begins; None for no such limit.
        last: The latest one, as in `first`.
    """

    def __init__(
        self,
        cron: str,
        timezone: str,
        calendar: Calendar,
        *,
        first: datetime | None = None,
        last: datetime | None = None,
    ) -> None:
        self.__dict__.update(_of_cron(cron, timezone).__dict__)
        self._zone = timezone
        self._calendar = calendar
        self._first, self._last = first, last

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> OpenPeriodsTimetable:
        """The timetable that `serialize` gave."""
        calendar = Calendar(
            weekdays=frozenset(data["weekdays"]),
            dates=frozenset(date.fromisoformat(day) for day in data["dates"]),
            hours=frozenset(data.get("hours", ())),
            cadence=data.get("cadence", "day"),
            timezone=data["timezone"],
        )
        first, last = (data.get(name) and datetime.fromisoformat(data[name]) for name in ("first", "last"))
        return cls(data["expression"], data["timezone"], calendar, first=first, last=last)

    def serialize(self) -> dict[str, Any]:
        """The timetable as JSON-able values."""
        return {
            "expression": self._expression,
            "timezone": self._zone,
            "weekdays": sorted(self._calendar.weekdays),
            "dates": sorted(day.isoformat() for day in self._calendar.dates),
            "hours": sorted(self._calendar.hours),
            "cadence": self._calendar.cadence,
            "first": self._first and self._first.isoformat(),
            "last": self._last and self._last.isoformat(),
        }

    def __eq__(self, other: object) -> bool:
        """True for the same cron, zone, calendar and limits."""
        return isinstance(other, OpenPeriodsTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash((self._expression, self._zone, self._calendar, self._first, self._last))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run whose data interval begins in an open period within the limits."""
        last, within = last_automated_data_interval, self._within(restriction)
        while True:
            found = super().next_dagrun_info(last_automated_data_interval=last, restriction=within)
            if found is None or self._opens(found.data_interval.start):
                return found
            last = found.data_interval

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """The last whole interval before an instant that begins on an open date."""
        found = super().infer_manual_data_interval(run_after=run_after)
        while not self._opens(found.start):
            found = DataInterval(start=self._get_prev(found.start), end=found.start)
        return found

    def _skip_to_latest(self, earliest: DateTime | None) -> DateTime:
        """As Airflow's, back to an open date: after closed ones the last open one may not have been run yet."""
        start: DateTime = super()._skip_to_latest(None)
        while not self._opens(start):
            start = self._get_prev(start)
        first: DateTime = start if earliest is None else max(start, self._align_to_next(earliest))
        return first

    def _within(self, restriction: TimeRestriction) -> TimeRestriction:
        """The restriction of a DAG without dates, or of a backfill, within the limits."""
        begins = [given for given in (restriction.earliest, _instant(self._first)) if given is not None]
        ends = [given for given in (restriction.latest, _instant(self._last)) if given is not None]
        return TimeRestriction(max(begins, default=None), min(ends, default=None), restriction.catchup)

    def _opens(self, start: DateTime) -> bool:
        return self._calendar.is_open(self._calendar.period_at(start))


@lru_cache(maxsize=256)
def _of_cron(cron: str, timezone: str) -> CronDataIntervalTimetable:
    """Airflow's own timetable of a cron; made once, since it words each cron anew and reads translations for it."""
    return CronDataIntervalTimetable(cron, timezone)


def _instant(moment: datetime | None) -> DateTime | None:
    return None if moment is None else pendulum.instance(moment)


class TallywrightPlugin(AirflowPlugin):  # type: ignore[misc]  # as above
    """Makes the timetable known to Airflow."""

    name = "tallywright"
    timetables = [OpenPeriodsTimetable]  # noqa: RUF012 - as Airflow declares it
