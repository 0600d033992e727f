"""Tables that were gone and are made again: whether all that can be made is in them, and what makes it.

Where such a table is missing, its seal says so. Once there is another one under its name, that seal says nothing of it;
it is compared with what its rows are made of, date by date. That is not asked of other tables: a run that was killed
may have left a date without its rows, and the next one writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.delta.table import Table
from tallywright.data.etl.label_readings import LABEL_READINGS, label_readings
from tallywright.lifecycle.periods import record
from tallywright.lifecycle.verify.findings import defect
from tallywright.lifecycle.verify.records import ingested_days
from tallywright.monitoring.decisions import DECISIONS
from tallywright.monitoring.drift import DRIFT
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.monitoring.periods import PERIODS, Period, read_periods
from tallywright.records import Role
from tallywright.scoring.commit.manifests import TALLIES, latest_tallies, logged_tallies, record_tally, recorded_tallies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.data.delta.table import Declaration
    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.verify.findings import Defect
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.spec import ModelSpec


def verify_made_again(lake: Lake, spec: ModelSpec, tables: Collection[str]) -> Iterator[Defect]:
    """Yields the dates that lack rows in tables that were made again.

    Raises:
        TallyError: Tables that cannot be read.
    """
    wanted: dict[str, Declaration[Any]] = {
        spec.table(one.what): one for one in (DRIFT, PERFORMANCE, DECISIONS, PERIODS, LABEL_READINGS)
    }
    tallies = latest_tallies(lake, spec) if tables else []
    for table in tables:
        if table in wanted:
            days = {row["score_date"] for row in Table(wanted[table], lake, spec).rows(columns=["score_date"])}
            for day in sorted(set(_dates(lake, spec, wanted[table], tallies)) - days):
                yield defect(table, "the table was made again, and has no row of the date", day)
        elif table == spec.table(TALLIES.what):
            for tally in unrecorded(lake, spec):
                told = f"the table was made again, and lacks generation {tally.manifest.generation}"
                yield defect(table, told, tally.manifest.score_date)


def _dates(lake: Lake, spec: ModelSpec, what: Declaration[Any], tallies: Sequence[Tally]) -> Iterator[date]:
    """The dates of which a table has rows once every run has ended."""
    if what is LABEL_READINGS:
        yield from ingested_days(lake, spec)
    elif what is PERFORMANCE:
        readings, calendar = label_readings(lake, spec), spec.schedule.calendar
        for tally in tallies:
            day = tally.manifest.score_date
            reading = readings.get(day)
            if reading is not None and reading.known:
                mature = calendar.settled(day, spec.data.label_maturity)
                if reading.as_of >= calendar.last_date(mature):
                    yield day
    else:
        for tally in tallies:
            if what is not DRIFT or tally.manifest.primary.role is Role.CHAMPION:
                yield tally.manifest.score_date


def unrecorded(lake: Lake, spec: ModelSpec) -> Iterator[Tally]:
    """Yields the tallies of the log, superseded ones too, that `<model>__tallies` lacks."""
    handle = lake.find(spec.table("scores"))
    recorded = {(one.manifest.score_date, one.manifest.generation) for one in recorded_tallies(lake, spec)}
    for tally in logged_tallies(lake, handle) if handle is not None else ():
        if (tally.manifest.score_date, tally.manifest.generation) not in recorded:
            yield tally


def record_missing(context: RunContext) -> None:
    """Records the tallies that are in the log alone, and the scored periods without a row."""
    lake, spec = context.lake, context.spec
    for tally in list(unrecorded(lake, spec)):
        record_tally(lake, spec, tally)
    known = read_periods(lake, spec)
    tallies = latest_tallies(lake, spec)
    record(context, [Period.scored(one.manifest) for one in tallies if one.manifest.score_date not in known])
