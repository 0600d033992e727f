"""The table that a run waits for (`schedule.after`): what it lacks of a period."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import InputError, SpecError
from tallywright.score_period import DATE_COLUMN
from tallywright.spec.calendar import Calendar
from tallywright.spec.load import load_project

if TYPE_CHECKING:
    from datetime import date, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project

_INSTANT: Final = timedelta(microseconds=1)


def awaited(project: Project, lake: Lake, period: date) -> str:
    """Says what the table that a run waits for lacks of a period; empty when nothing is waited for any more.

    The table may have periods of its own kind: it has to hold the last open one that ends by the end of this one. Of a
    table whose model is not in the project, the kind is that of its partitions, and every period is open.

    Raises:
        SpecError: It is a table without score dates, or its model's spec is wrong.
        StorageError: It cannot be read.
    """
    schedule = project.spec.schedule
    if not schedule.after or schedule.after_asset:
        return ""
    table = schedule.after
    handle = lake.find(table)
    if handle is None:
        return f"there is no {table} yet"
    partitions = handle.metadata().partition_columns
    if DATE_COLUMN not in partitions:
        raise SpecError(
            f"schedule.after names {table}, which is not partitioned by {DATE_COLUMN}",
            expected="a table of scores, features or labels of another model",
        )
    wanted = _last_by(schedule.calendar.end(period), _calendar_of(project, table, hourly=len(partitions) > 1))
    if any(file.day == wanted for file in lake.files(table, version=handle)):
        return ""
    return f"{table} holds nothing of {wanted}"


def _calendar_of(project: Project, table: str, *, hourly: bool) -> Calendar:
    """The calendar of a table's periods: its model's, where that is in the project."""
    model = table.partition("__")[0]
    if (project.root / "models" / model / "model.yaml").is_file():
        return load_project(model, root=project.root).spec.schedule.calendar
    zone = project.spec.schedule.timezone
    return Calendar(cadence="hour" if hourly else "day", timezone=zone)


def _last_by(ends: datetime, calendar: Calendar) -> date:
    """The last open period that is over at an instant."""
    found = calendar.period_at(ends - _INSTANT)
    is_over = calendar.end(found) <= ends
    return found if is_over and calendar.is_open(found) else calendar.previous_open(found)


def require_awaited(project: Project, lake: Lake, period: date) -> None:
    """Refuses a period before what its runs wait for is there.

    Raises:
        InputError: Names the table.
        SpecError: As `awaited`.
    """
    missing = awaited(project, lake, period)
    if missing:
        raise InputError(
            f"{missing}, and schedule.after has the runs of {project.spec.name} about {period} wait for it",
            expected=f"{project.spec.schedule.after} with what belongs to {period}",
            remedy="score or ingest it there first, or take schedule.after out of model.yaml",
        )
