"""The arguments that many commands share, and how a date is read from the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.errors import UsageError
from tallywright.lifecycle.context import RunContext, RunOptions, require_day, require_effective_date
from tallywright.score_period import date_of
from tallywright.spec import Project, load_project
from tallywright.spec.calendar import parse_day
from tallywright.spec.places import keep_private

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.registry.cards import CardFiles

Command = Callable[..., Any]


class BusinessDate(click.ParamType[date]):
    """The parameter type of a date in ISO form, such as `2013-03-08`; `near`: at most a year ahead."""

    name = "date"

    def __init__(self, *, near: bool = False) -> None:
        self.near = near

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date, or a usage error that shows the form."""
        del param, ctx
        found = value if isinstance(value, date) else parse_date(str(value))
        if self.near and found > datetime.now(UTC).date() + _AHEAD:
            raise UsageError(f"{found} is more than a year ahead", expected="a date of the schedule")
        return found


def parse_date(text: str) -> date:
    """An ISO date, strictly.

    Raises:
        UsageError: Anything else, quoted as found.
    """
    found = parse_day(text)
    if found is None:
        raise UsageError(f"{_shown(text)} is not a date", expected="YYYY-MM-DD, such as 2013-03-08")
    return found


class Folder(click.ParamType[Path]):
    """The parameter type of a folder that is there."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder, or a usage error."""
        del param, ctx
        path = Path(value)
        if not str(value).strip() or not _asked(path, Path.is_dir):
            raise UsageError(f"there is no folder {_shown(str(value))}", expected="a folder that exists")
        return path


class NewFolder(click.ParamType[Path]):
    """The parameter type of a folder to make."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder, or a usage error."""
        del param, ctx
        path = Path(value)
        if not str(value).strip() or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
            raise UsageError(f"no folder can be called {_shown(str(value))}", expected="the name of a folder to make")
        return path


class OutputFile(click.ParamType[Path]):
    """The parameter type of a file to write, looked at before anything is done: its folder must be there."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The file, or a usage error that says why it cannot be written."""
        del param, ctx
        path, shown = Path(value), _shown(str(value))
        if not str(value).strip() or _CONTROL.search(str(value)):
            raise UsageError(f"no file can be written to {shown}", expected="a name of characters that print")
        if _asked(path, Path.is_dir):
            raise UsageError(f"{shown} is a folder", expected="a file in a folder that exists")
        if not _asked(path.parent, Path.is_dir):
            raise UsageError(f"there is no folder {_shown(str(path.parent))}", expected="a folder that exists")
        there = _asked(path, Path.exists)
        if len(os.fsencode(path.name)) > _LONGEST_NAME or not os.access(path if there else path.parent, os.W_OK):
            raise UsageError(f"{shown} cannot be written", expected="a file that this user may write")
        return path


class Line(click.ParamType[str]):
    """The parameter type of a text for the record: one that prints, of at most so many characters."""

    name = "text"

    def __init__(self, most: int, *, blank: bool = False, lines: bool = False) -> None:
        self.most = most
        self.blank = blank
        self.lines = lines

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, or a usage error."""
        del ctx
        text, name = str(value), _option(param)
        if not text.strip() and not self.blank:
            raise UsageError(f"{name} is empty", expected="a text")
        if len(text) > self.most:
            raise UsageError(f"{name} has {len(text):,} characters", expected=f"at most {self.most:,}")
        control = (_CONTROL_BUT_LINES if self.lines else _CONTROL).search(text)
        if control:
            found = f"{name} has a control character ({control[0]!r} at {control.start()})"
            raise UsageError(found, expected="characters that print")
        return text


def _option(param: click.Parameter | None) -> str:
    """How a parameter is called on the command line."""
    if param is None:
        return "the text"
    return param.opts[0] if isinstance(param, click.Option) else (param.metavar or str(param.name).upper())


def _asked(path: Path, question: Callable[[Path], bool]) -> bool:
    """What the file system answers; no where it cannot even be asked, as about a name of 5,000 characters."""
    try:
        return question(path)
    except (OSError, ValueError):
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST_SHOWN: Final = 60
_LONGEST_NAME: Final = 255
"""Bytes of a name that common file systems take."""
_MOST: Final = 2**31 - 1
MOST_DAYS: Final = 3_660
"""A range of more days needs `--any-length`: nobody waits for ten years of days that were typed by mistake."""
_AHEAD: Final = timedelta(days=366)
COUNT: Final = click.IntRange(1, _MOST)
"""The parameter type of a number of rows."""
VERSION: Final = click.IntRange(1, _MOST)
"""The parameter type of a registered version."""
FOLDER: Final = Folder()
NEW_FOLDER: Final = NewFolder()
OUTPUT: Final = OutputFile()
PERSON: Final = Line(200, blank=True)
REASON: Final = Line(4000, blank=True, lines=True)
RUN_ID: Final = Line(250)
NAME: Final = Line(100)
"""The parameter type of an overlay's name."""
SOURCE: Final = Line(100, blank=True)
"""The parameter type of an environment that Airflow's form may have left empty."""
FROM: Final = "The environment whose registry has that number, where versions come from another one."
source_option: Final = click.option(
    "--from", "source", type=NAME, callback=lambda _context, _option, value: value or "", help=FROM
)
DATE = BusinessDate()
EFFECTIVE: Final = BusinessDate(near=True)
"""The parameter type of the date from which a champion holds."""
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
        if len(text) > _LONGEST_SHOWN:
            raise UsageError(f"{_shown(text)} is too long", expected=calendar.form)
        return calendar.ends(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(str(error).partition("; expected ")[0], expected=calendar.form) from error


def period_range(project: Project, first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """The ends of a range as they are typed, of a command that only reads; None is open.

    Raises:
        UsageError: One names no period, they are not in order, or the last is far ahead.
    """
    low = None if first is None else ends_of(project, first)[0]
    high = None if last is None else ends_of(project, last)[1]
    require_order(low, high)
    for end in (low, high):
        if end is not None:
            _require_reached(end, "correct the dates, or leave them out")
    return low, high


def require_length(first: date, last: date) -> None:
    """Refuses a range that ends in the far future or is longer than `MOST_DAYS`.

    Raises:
        UsageError: With the number of years or days.
    """
    remedy = "correct the dates, or say that they are meant: --any-length"
    _require_reached(last, remedy)
    days = (date_of(last) - date_of(first)).days + 1
    if days > MOST_DAYS:
        raise UsageError(f"the range has {days:,} days", expected=f"at most {MOST_DAYS:,}", remedy=remedy)


def _require_reached(last: date, remedy: str) -> None:
    today = datetime.now(UTC).date()
    if date_of(last) > today + _AHEAD:
        years = last.year - today.year
        found = f"the range ends on {date_of(last)}, {years:,} year{'s' * (years != 1)} after today"
        raise UsageError(found, expected="dates of data", remedy=remedy)


def project_options(command: Command) -> Command:
    """Adds MODEL, `--env`, `--set` and `--root`; the command receives `project`."""

    @click.argument("model")
    @click.option("--env", "environment", type=NAME, help="Overlay in conf/ (default: $TALLYWRIGHT_ENV or local).")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the spec.")
    @click.option("--root", type=FOLDER, help="The project's folder (default: found upwards).")
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
    @click.option("--any-length", is_flag=True, help=f"The range is meant, though it has more than {MOST_DAYS:,} days.")
    @wraps(command)
    def with_range(
        project: Project, *, day: str | None, first: str | None, last: str | None, any_length: bool, **others: Any
    ) -> Any:
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
        if not any_length:
            _require_typed_length(project, low, high)
        return command(project, first=low, last=high, **others)

    return with_range


def _require_typed_length(project: Project, first: str, last: str) -> None:
    """As `require_length`; what names no period, or an order that is none, is refused by who reads it."""
    try:
        low, high = ends_of(project, first)[0], ends_of(project, last)[1]
        require_order(low, high)
    except UsageError:
        return
    require_length(low, high)


def range_options(command: Command) -> Command:
    """As `typed_range_options`; the command receives the periods."""

    @typed_range_options
    @wraps(command)
    def with_periods(project: Project, *, first: str, last: str, **others: Any) -> Any:
        low, high = ends_of(project, first)[0], ends_of(project, last)[1]
        require_order(low, high)
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


def context_for(
    project: Project, day: date, run_id: str, options: RunOptions | None = None, *, goes_back: bool = False
) -> RunContext:
    """The context of a run about a date of the schedule, with an effective date that a promotion can have.

    Args:
        project: Of the run.
        day: Its date.
        run_id: Its identity.
        options: Of the command line.
        goes_back: True for a rollback; see `require_effective_date`.
    """
    options = options or RunOptions()
    if options.effective_from is not None:
        require_effective_date(project, options.effective_from, goes_back=goes_back)
    if day != options.effective_from:
        require_day(project.spec, day)
    if options.source:
        from tallywright.registry.numbers import require_source

        require_source(project, options.source)
    context = RunContext(project, day, run_id, options, card=_card)
    storage = project.environment.storage
    keep_private(project.root, storage.lake, storage.work, storage.cache, project.environment.tracking.artifacts)
    return context


def _card(project: Project, lake: Lake, version: int) -> CardFiles:
    """The card of a version, for the steps that attach it."""
    from tallywright.reporting.card.files import card_files

    return card_files(project, lake, version)
