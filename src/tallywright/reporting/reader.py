"""The scored rows of a model as Arrow, for programs: `tallywright.scores`. Reads the lake, and writes nothing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.schema import arrow_schema
from tallywright.errors import InputError, TableContractError, UsageError
from tallywright.score_period import Hour
from tallywright.scoring.commit.manifests import tallies_in
from tallywright.scoring.commit.standing import tally_rows
from tallywright.spec import load_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deltalake import DeltaTable

    from tallywright.scoring.commit.manifests import Tally
    from tallywright.spec.calendar import Calendar

METADATA: Final = b"tallywright"
"""The key of the schema's metadata under which the provenance of the rows stands, as JSON."""
_SHOWN: Final = 5


def scores(  # noqa: PLR0913 - keywords that seldom are needed
    model: str,
    dates: date | str | Iterable[date | str],
    *,
    to: date | str | None = None,
    columns: Sequence[str] | None = None,
    allow_missing: bool = False,
    root: str | Path | None = None,
    environment: str | None = None,
) -> pa.Table:
    """The scored rows of some dates, of one state of the table, by date and as they were committed.

    Columns: the key, `score_date`, the outputs, and the provenance `model_name`, `model_version`, `role` and
    `input_version`. The schema's metadata holds under `tallywright` a JSON object: `model`, `table`, its `version`, and
    by date under `tallies` the manifest of the tally: generation, reason, models with their digests, input, run, code,
    commit time.

        import tallywright
        rows = tallywright.scores("flight_delays", "2013-06-27", to="2013-07-03", columns=["prediction"])

    Args:
        model: Name of the model project.
        dates: A date, as such or as `YYYY-MM-DD`, or several. Of an hourly model a date means all of its hours, and
            `2025-03-30T01:00Z` one.
        to: The last date, inclusive, where `dates` is the first of a range.
        columns: The columns wanted, in that order; all of them by default.
        allow_missing: Leave out dates that were never scored, such as closed days; they are an error otherwise.
        root: The project's folder; by default found as the command line finds it, from the current folder upwards.
        environment: The overlay in `conf/`; by default `$TALLYWRIGHT_ENV`, else `local`.

    Raises:
        UsageError: A date that is none, a range out of order, no date at all, or no such project.
        InputError: A date that has no tally.
        IntegrityError: A date whose rows are not those of its tally: files that were added, changed, damaged or lost.
        TableContractError: A column that the table does not have.
        StorageError: The lake cannot be read.
    """
    project = load_project(model, root=None if root is None else Path(root), environment=environment)
    lake, spec = Lake.of(project.environment), project.spec
    wanted = _dates(spec.schedule.calendar, dates, to)
    name = spec.table("scores")
    table = lake.find(name)
    tallies = {} if table is None else tallies_in(lake, spec, table, wanted)
    missing = [day for day in wanted if day not in tallies]
    if table is None or (missing and not allow_missing):
        shown = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        raise InputError(
            f"{model} has no tally of {len(missing)} of the {len(wanted)} dates: {shown}",
            expected="dates that were scored, or allow_missing=True",
            remedy=f"tally days {model} lists them",
        )
    schema = _schema(name, table, columns)
    parts = [tally_rows(lake, spec, tallies[day], table, schema.names) for day in wanted if day in tallies]
    found = pa.concat_tables([pa.Table.from_batches([], schema), *parts])
    return found.replace_schema_metadata({METADATA: _provenance(model, name, table, tallies)})


def _schema(name: str, table: DeltaTable, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of the columns wanted.

    Raises:
        TableContractError: The table has no such column.
    """
    schema = arrow_schema(table)
    if columns is None:
        return schema
    if isinstance(columns, str):
        raise UsageError(f"columns: found the text {columns!r}", expected="a list of names")
    unknown = [column for column in columns if column not in schema.names]
    if unknown:
        raise TableContractError(
            f"{name} has no column {', '.join(map(repr, unknown))}", expected=f"one of {', '.join(schema.names)}"
        )
    return pa.schema([schema.field(column) for column in columns])


def _provenance(model: str, name: str, table: DeltaTable, tallies: Mapping[date, Tally]) -> str:
    told = {
        "model": model,
        "table": name,
        "version": table.version(),
        "tallies": {str(day): tallies[day].manifest.model_dump(mode="json") for day in sorted(tallies)},
    }
    return json.dumps(told)


def _dates(calendar: Calendar, dates: date | str | Iterable[date | str], to: date | str | None) -> list[date]:
    """The periods in order, each once.

    Raises:
        UsageError: As `scores`.
    """
    if to is not None:
        if not isinstance(dates, date | str):
            raise UsageError("`to` was given beside several dates", expected="one date, the first of the range")
        first, last = _ends(calendar, dates)[0], _ends(calendar, to)[1]
        if last < first:
            raise UsageError(f"to={last} is before {first}", expected="a range in order, both ends included")
        return list(calendar.between(first, last))
    if isinstance(dates, date | str):
        dates = [dates]
    try:
        found = {period for one in dates for period in calendar.between(*_ends(calendar, one))}
    except TypeError:
        raise UsageError(f"dates: found {dates!r}", expected="a date, or several") from None
    if not found:
        raise UsageError("no dates were given", expected="a date, or several")
    return sorted(found)


def _ends(calendar: Calendar, value: date | str) -> tuple[date, date]:
    """The first and last period that a value names: one and the same, but where periods are hours a date names all."""
    # An instant is a date to Python, and would silently lose its time.
    text = str(value) if isinstance(value, Hour) or type(value) is date else value
    if not isinstance(text, str):
        raise UsageError(f"{value!r} is not a date", expected=f"a datetime.date, or a text: {calendar.form}")
    try:
        return calendar.ends(text)
    except ValueError as error:
        found = str(error).partition("; expected ")[0]
        raise UsageError(found, expected=f"a datetime.date, or a text: {calendar.form}") from error
