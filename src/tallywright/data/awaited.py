"""The table that a run waits for (`schedule.after`): what it lacks of a period."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import InputError, SpecError
from tallywright.score_period import DATE_COLUMN, Hour

if TYPE_CHECKING:
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

_HOUR: Final = timedelta(hours=1)


def awaited(lake: Lake, spec: ModelSpec, period: date) -> str:
    """Says what the table that a run waits for lacks of a period; empty when nothing is waited for any more.

    The table may have periods of its own kind: it has this one when it holds it, or its last date, or its last hour.

    Raises:
        SpecError: It is a table without score dates.
        StorageError: It cannot be read.
    """
    table, calendar = spec.schedule.after, spec.schedule.calendar
    if not table or spec.schedule.after_asset:
        return ""
    handle = lake.find(table)
    if handle is None:
        return f"there is no {table} yet"
    if DATE_COLUMN not in handle.metadata().partition_columns:
        raise SpecError(
            f"schedule.after names {table}, which is not partitioned by {DATE_COLUMN}",
            expected="a table of scores, features or labels of another model",
        )
    held = {file.day for file in lake.files(table, version=handle) if file.day is not None}
    last_hour = calendar.end(period) - _HOUR
    if {period, calendar.last_date(period)} & held or any(
        isinstance(hour, Hour) and hour.instant == last_hour for hour in held
    ):
        return ""
    return f"{table} holds nothing of {period}"


def require_awaited(lake: Lake, spec: ModelSpec, period: date) -> None:
    """Refuses a period before what its runs wait for is there.

    Raises:
        InputError: Names the table.
        SpecError: As `awaited`.
    """
    missing = awaited(lake, spec, period)
    if missing:
        raise InputError(
            f"{missing}, and schedule.after has the runs of {spec.name} wait for it",
            expected=f"{spec.schedule.after} with {period}",
            remedy=f"score or ingest {period} there first, or take schedule.after out of model.yaml",
        )
