"""The last reading of each date's labels: the rows of `<model>__label_readings`, and which dates are read again."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.records import PeriodRecord
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec
    from tallywright.spec.calendar import Calendar


class LabelReading(PeriodRecord):
    """One row of `<model>__label_readings`.

    `as_of` is the score date as of which they were read (see `read_as_of`). `mature_fingerprint` is of
    the labels that had arrived by the day on which they count as mature: what realised metrics of that age are computed
    from.
    """

    score_date: date
    model_name: str
    as_of: date
    known: int
    never: int
    fingerprint: str
    mature_fingerprint: str
    recorded_at: datetime


_DAY: Final = timedelta(days=1)
LABEL_READINGS: Final = Declaration(
    what="label_readings",
    record=LabelReading,
    key=("score_date",),
    slice=("model_name",),
    kind=Kind.UPDATE,
    doc="as of which score date the labels of each date were last read, and what was found",
)


def label_readings(lake: Lake, spec: ModelSpec) -> dict[date, LabelReading]:
    """The last reading of each date; none of dates that were read by a version that kept no record."""
    return {row.score_date: row for row in Table(LABEL_READINGS, lake, spec).read()}


def newest_date(calendar: Calendar, last: date, readings: dict[date, LabelReading]) -> date:
    """The newest score period that is known: the last of the run, or a later one that was ingested or read as of."""
    return max((last, *readings, *(calendar.last_on(row.as_of) for row in readings.values())))


def read_as_of(spec: ModelSpec, period: date, newest: date) -> date:
    """As of which date labels of a period are read, when business time has come to `newest`: at most the wait's end.

    Of hours it is the last date that is over by then.
    """
    calendar = spec.schedule.calendar
    day = date_of(newest)
    over = day if newest >= calendar.last_open_on(day) else day - _DAY
    return min(over, date_of(calendar.after(period, spec.data.label_wait)))


def dates_to_read(
    spec: ModelSpec, ingested: Collection[date], readings: dict[date, LabelReading], first: date, last: date
) -> list[date]:
    """The ingested dates whose labels a run of the score dates `first` to `last` reads again, in order.

    That is every date younger than the wait, and each older one that was not read since its wait ended: as after an
    outage, or where days run in another order.
    """
    calendar = spec.schedule.calendar
    newest = newest_date(calendar, last, readings)

    def is_due(day: date) -> bool:
        reading = readings.get(day)
        if reading is not None and reading.as_of < read_as_of(spec, day, newest):
            return True
        if not (day < last and (reading is None or day < first)):
            return False
        return calendar.after(day, spec.data.label_wait) >= first

    return sorted(day for day in ingested if is_due(day))
