"""The Airflow timetable of a model with a calendar: a run for each open period, none for a closed one.

Airflow loads it in every process through the plugin that the distribution declares (`airflow.plugins`). A model without
a calendar has Airflow's own timetable.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

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
    """

    def __init__(self, cron: str, timezone: str, calendar: Calendar) -> None:
        super().__init__(cron, timezone)
        self._zone = timezone
        self._calendar = calendar

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
        return cls(data["expression"], data["timezone"], calendar)

    def serialize(self) -> dict[str, Any]:
        """The timetable as JSON-able values."""
        return {
            "expression": self._expression,
            "timezone": self._zone,
            "weekdays": sorted(self._calendar.weekdays),
            "dates": sorted(day.isoformat() for day in self._calendar.dates),
            "hours": sorted(self._calendar.hours),
            "cadence": self._calendar.cadence,
        }

    def __eq__(self, other: object) -> bool:
        """True for the same cron, zone and calendar."""
        return isinstance(other, OpenPeriodsTimetable) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash((self._expression, self._zone, self._calendar))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run whose data interval begins on an open date."""
        last = last_automated_data_interval
        while True:
            found = super().next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
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

    def _opens(self, start: DateTime) -> bool:
        return self._calendar.is_open(self._calendar.period_at(start))


class TallywrightPlugin(AirflowPlugin):  # type: ignore[misc]  # as above
    """Makes the timetable known to Airflow."""

    name = "tallywright"
    timetables = [OpenPeriodsTimetable]  # noqa: RUF012 - as Airflow declares it
