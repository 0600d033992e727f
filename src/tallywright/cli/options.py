"""The arguments that many commands share, and how a date is read from the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunContext, RunOptions, require_day
from tallywright.spec import Project, load_project
from tallywright.spec.calendar import parse_day
from tallywright.spec.places import keep_private

Command = Callable[..., Any]


class BusinessDate(click.ParamType[date]):
    """The parameter type of a date in ISO form, such as `2013-03-08`."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date, or a usage error that shows the form."""
        del param, ctx
        if isinstance(value, date):
            return value
        return parse_date(str(value))


def parse_date(text: str) -> date:
    """An ISO date, strictly.

    Raises:
        UsageError: Anything else, quoted as found.
    """
    found = parse_day(text)
    if found is None:
        raise UsageError(f"{text!r} is not a date", expected="YYYY-MM-DD, such as 2013-03-08")
    return found


DATE = BusinessDate()
PERIOD = click.STRING
"""A score period as it is typed; what it means is said by the model's calendar (`period_of`)."""


def period_of(project: Project, text: str) -> date:
    """The one score period that a text names.

    Raises:
        UsageError: It names none; of an hourly model, a date names several.
    """
    first, last = ends_of(project, text)
    if first == last:
        return first
    raise UsageError(f"{text!r} is not an hour", expected=project.spec.schedule.calendar.form)


def ends_of(project: Project, text: str) -> tuple[date, date]:
    """The first and last score period that a text names; see `Calendar.ends`.

    Raises:
        UsageError: It names none.
    """
    calendar = project.spec.schedule.calendar
    try:
        return calendar.ends(text)
    except ValueError as error:
        raise UsageError(str(error).partition("; expected ")[0], expected=calendar.form) from error


def period_range(project: Project, first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """The ends of a range as they are typed; None is open.

    Raises:
        UsageError: One names no period, or they are not in order.
    """
    low = None if first is None else ends_of(project, first)[0]
    high = None if last is None else ends_of(project, last)[1]
    require_order(low, high)
    return low, high


def project_options(command: Command) -> Command:
    """Adds MODEL, `--env`, `--set` and `--root`; the command receives `project`."""

    @click.argument("model")
    @click.option("--env", "environment", help="Overlay in conf/ (default: $TALLYWRIGHT_ENV or local).")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the spec.")
    @click.option("--root", type=click.Path(path_type=Path), help="The project's folder (default: found upwards).")
    @wraps(command)
    def with_project(
        model: str, environment: str | None, overrides: tuple[str, ...], root: Path | None, **others: Any
    ) -> Any:
        return command(load_project(model, root=root, environment=environment, overrides=overrides), **others)

    return with_project


def typed_range_options(command: Command) -> Command:
    """Adds `--date`, or `--from` and `--to` (both inclusive); the command receives `first` and `last` as typed."""

    @click.option("--date", "day", type=PERIOD, help="One date, or the period that it stands for.")
    @click.option("--from", "first", type=PERIOD, help="The first date or period.")
    @click.option("--to", "last", type=PERIOD, help="The last one, inclusive.")
    @wraps(command)
    def with_range(project: Project, *, day: str | None, first: str | None, last: str | None, **others: Any) -> Any:
        if day is not None and (first or last):
            raise UsageError("--date and --from/--to were both given", expected="one of them")
        low, high = day or first, day or last
        if low is None or high is None:
            found = "no dates were given"
            if low is not None or high is not None:
                found = (
                    "--from is given, and --to is missing" if high is None else "--to is given, and --from is missing"
                )
            raise UsageError(found, expected="--date D, or --from A --to B (both inclusive)")
        return command(project, first=low, last=high, **others)

    return with_range


def range_options(command: Command) -> Command:
    """As `typed_range_options`; the command receives the periods."""

    @typed_range_options
    @wraps(command)
    def with_periods(project: Project, *, first: str, last: str, **others: Any) -> Any:
        low, high = period_range(project, first, last)
        return command(project, first=low, last=high, **others)

    return with_periods


def require_order(first: date | None, last: date | None) -> None:
    """Refuses a range that ends before it begins; an end that was not given is open.

    Raises:
        UsageError: With both dates.
    """
    if first is not None and last is not None and last < first:
        raise UsageError(f"--to {last} is before --from {first}", expected="a range in order")


def json_option(command: Command) -> Command:
    """Adds `--json`; the command receives `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="JSON for programs instead of a table.")(command)


def new_run_id(kind: str) -> str:
    """A run id for a run that a person started: `manual-score-20130308T040102.123456`."""
    return f"manual-{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"


def context_for(project: Project, day: date, run_id: str, options: RunOptions | None = None) -> RunContext:
    """The context of a run about a date of the schedule."""
    storage = project.environment.storage
    keep_private(project.root, storage.lake, storage.work, storage.cache, project.environment.tracking.artifacts)
    return RunContext(project, require_day(project.spec, day), run_id, options or RunOptions())
