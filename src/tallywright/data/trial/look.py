"""What a project's data say of its spec, found from a sample: for `tally validate --data`.

The sources are sampled, the queries are planned against the columns that the files have, and run over the sample for
one period that it holds; its rows are checked as ingest checks them. Nothing is kept: what has to be written for it
lies below the work folder, and is removed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import number_array
from tallywright.data.embedded_sql import QueryTimeError, connect
from tallywright.data.etl.day_checks import MissingRowsError, check_features, check_labels
from tallywright.data.etl.engine import sql_engine
from tallywright.data.etl.ingest import rows_to_store
from tallywright.data.etl.queries import read_query
from tallywright.data.etl.raw_rows import names_rows, sources_in
from tallywright.data.etl.sources import RawContent, words_of
from tallywright.data.etl.transform import RawRun, period_of, period_parameters, without_ends
from tallywright.data.fingerprint import row_hashes
from tallywright.data.raw.typed import SOURCE_ROW
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.trial.planned import sql_problems
from tallywright.data.trial.sample import BYTES, FILES, ROWS, SampledSource, Sampling, TimeUpError, sampled
from tallywright.errors import InputError, SpecError, TallyError
from tallywright.spec.places import keep_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.data.etl.queries import Query
    from tallywright.data.etl.transform import RawDay
    from tallywright.data.trial.sample import Left
    from tallywright.spec import Project

_REASONS: Final = 10
_LONGEST: Final = 200
_SHORTEST: Final = 0.1
"""Seconds that a query is given at least."""


@dataclass(slots=True)
class SampledPeriod:
    """What the queries make of the rows of one period of the sample.

    `labels` counts them by their status.
    """

    period: str
    rows: int
    quarantined: int
    reasons: dict[str, int]
    labels: dict[str, int]


@dataclass(slots=True)
class DataReport:
    """What was looked at, what was found, and what was not looked at.

    Attributes:
        sources: Of the spec, as far as there was time for them.
        period: What the queries return for one period; None where they were not run.
        errors: What an ingest of these data would stop at, or the queries.
        notes: What is worth knowing and stops nothing.
        not_looked_at: What this says nothing about.
    """

    sources: list[SampledSource] = field(default_factory=list)
    period: SampledPeriod | None = None
    errors: list[TallyError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "sources": [
                {
                    "source": one.source,
                    "files": one.files,
                    "looked_at": [asdict(file) for file in one.looked_at],
                    "rows": one.rows,
                    "whole": one.is_whole,
                    "unreadable": sum(file.unreadable for file in one.looked_at),
                    "null_cells": one.null_cells,
                    "unused_columns": one.unused_columns,
                }
                for one in self.sources
            ],
            "period": None if self.period is None else asdict(self.period),
            "notes": self.notes,
            "not_looked_at": self.not_looked_at,
        }


def look_at_data(project: Project, left: Left, say: Callable[[str], None] = lambda _: None) -> DataReport:
    """Samples the sources of a project, and runs its queries over the sample; changes nothing.

    Args:
        project: Whose spec and SQL files are valid as far as that can be known without data.
        left: How many seconds are left: what there is no time for is named and not looked at.
        say: Is told what comes next.
    """
    report = DataReport()
    work = Path(project.environment.storage.work)
    try:
        with storage_errors(f"looking at data below {work}"), _scratch(project.root, work) as scratch:
            try:
                _look(report, _inside(project, scratch, left), project, left, say)
            except (TimeUpError, QueryTimeError):
                report.not_looked_at.append("what there was no time for: the queries over the sample")
    except TallyError as error:
        report.errors.append(error)
    _say_limits(report)
    return report


@contextmanager
def _scratch(root: Path, work: Path) -> Iterator[Path]:
    """A folder that is removed, with those that were made for it; one that a kill leaves is swept as staging's are."""
    parent = work / "raw"
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        keep_private(root, str(work))
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sample-", dir=parent) as scratch:
            yield Path(scratch)
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _inside(project: Project, scratch: Path, left: Left) -> Project:
    """The project with its work below a folder, and no more time for a query than is left."""
    environment = project.environment
    storage = environment.storage.model_copy(update={"work": str(scratch)})
    minutes = min(project.spec.data.sql_minutes, max(left(), _SHORTEST) / 60)
    data = project.spec.data.model_copy(update={"sql_minutes": minutes})
    return replace(
        project,
        spec=project.spec.model_copy(update={"data": data}),
        environment=environment.model_copy(update={"storage": storage}),
    )


def _look(report: DataReport, inside: Project, project: Project, left: Left, say: Callable[[str], None]) -> None:
    _sample_sources(report, project, Path(inside.environment.storage.work), left, say)
    if left() <= 0:
        raise TimeUpError
    problems = sql_problems(inside, _columns(report.sources, project))
    report.errors += [SpecError(problem) for problem in problems]
    why_not = _why_not_run(report, project, problems)
    if why_not:
        report.not_looked_at.append(why_not)
    else:
        say("the queries")
        if left() <= 0:
            raise TimeUpError
        try:
            _try_queries(report, _inside(project, Path(inside.environment.storage.work), left))
        except QueryTimeError:
            raise
        except TallyError as error:
            report.errors.append(error)


def _why_not_run(report: DataReport, project: Project, problems: Sequence[str]) -> str:
    """What stands in the way of running the queries; empty where nothing does."""
    data, rows = project.spec.data, "the rows that the queries return"
    without = [one.source for one in report.sources if one.relation is None]
    if data.engine != "duckdb":
        return f"the queries: they are run by {data.engine}, which is not started"
    if without:
        return f"{rows}: {', '.join(without)} was not read"
    if problems:
        return f"{rows}: the queries have problems"
    if not all((project.folder / file).is_file() for file in (data.contract, data.features, data.labels)):
        return f"{rows}: a file of theirs is missing"
    return ""


def _columns(sources: Sequence[SampledSource], project: Project) -> dict[str, dict[str, str]]:
    """The columns of the sources that were read, with the numbers of rows that ingest gives a contract that asks."""
    own = any(one.relation is not None and one.relation.has_own_numbers for one in sources)
    with suppress(OSError, UnicodeDecodeError):  # told as a problem of the file
        text = (project.folder / project.spec.data.contract).read_text(encoding="utf-8-sig")
        numbers = {SOURCE_ROW: "BIGINT"} if names_rows(text) and not own else {}
        return {one.source: one.types | numbers for one in sources if one.types}
    return {}


def _sample_sources(
    report: DataReport, project: Project, scratch: Path, left: Left, say: Callable[[str], None]
) -> None:
    with connect(scratch / "spill") as connection:
        sampling = Sampling(project, scratch, connection, words_of(project), left)
        first_file = 0
        for name, source in project.spec.data.sources.items():
            say(f"data.sources.{name}")
            found = sampled(name, source, sampling, first_file)
            if not found.in_time:
                report.not_looked_at.append(f"data.sources.{name}: there was no time for it")
            first_file += len(found.looked_at)
            report.sources.append(found)
            report.errors += found.errors
            report.notes += found.notes


def _say_limits(report: DataReport) -> None:
    for one in report.sources:
        if one.looked_at and not one.is_whole:
            report.not_looked_at.append(
                f"the rest of data.sources.{one.source}: {one.rows:,} rows were read, of {len(one.looked_at):,} of "
                f"{one.files:,} files (at most {FILES} files, {BYTES >> 20} MB of text, {ROWS:,} rows of Parquet)"
            )
    report.not_looked_at.append("the expectations: they judge a day that was ingested")


# --- The queries --------------------------------------------------------------------------------------------------


class _SampleRun(RawRun):
    """The queries over a sample in the place of the raw files."""

    content_of_sample: RawContent

    def read(self) -> RawContent:
        return self.content_of_sample


def _try_queries(report: DataReport, inside: Project) -> None:
    """Runs the queries over the sample for the period that has most of its rows, and checks these."""
    content = RawContent(
        relations={one.source: one.relation for one in report.sources if one.relation is not None},
        raw_files=tuple(file for one in report.sources for file in one.raw_files),
        digest="",
        stamps={},
        unstaged={},
    )
    periods = _periods(report, inside, content)
    covered = {period: rows for period, rows in periods.items() if _may_be_ingested(inside, period)}
    if not covered:
        held = f"it holds {min(periods)} to {max(periods)}" if periods else "the contract selects no row of it"
        report.notes.append(f"{inside.spec.data.contract}: the sample has no row of a period of the schedule: {held}")
        report.not_looked_at.append("features and labels: the sample has no row of a period of the schedule")
        return
    period = max(covered, key=lambda one: (covered[one], one))
    run = _SampleRun(inside, period, period, as_of=max(covered))
    run.content_of_sample = content
    with run:
        raw = run.day(period)
        _check(report, inside, raw)


def _may_be_ingested(project: Project, period: date) -> bool:
    schedule = project.spec.schedule
    return schedule.covers(period) and schedule.calendar.is_open(period)


def _periods(report: DataReport, project: Project, content: RawContent) -> dict[date, int]:
    """How many rows of the sample the contract accepts, by period; how many it selects, where it accepts none."""
    spec, data = project.spec, project.spec.data
    day = spec.schedule.first_period
    path = project.folder / data.contract
    query = read_query(path, without_ends(period_parameters(spec, day, day)), data.contract)
    with closing(sql_engine(project)) as engine:
        for name, relation in content.relations.items():
            engine.source(name, relation, numbered=names_rows(query.text) and not relation.has_own_numbers)
        engine.keep("selected", query, lambda _: None)
        engine.view("taken", "SELECT * FROM selected WHERE reject_reason IS NULL")
        selected = engine.days("selected")
        by_value = engine.days("taken") or selected
    if None in selected:
        column = spec.partition[-1]
        raise InputError(
            f"{data.contract}: {selected[None]} rows have {column} null",
            expected=f"a {column} in each row",
            remedy="end the query with a condition that takes no such row",
        )
    _say_unselected(report, content, query, selected)
    periods = {period_of(spec, value, data.contract): rows for value, rows in by_value.items()}
    return {period: rows for period, rows in periods.items() if period is not None}


def _say_unselected(report: DataReport, content: RawContent, query: Query, selected: Mapping[Any, int]) -> None:
    """Says how many rows of its only source a contract takes for no date, such as a line of sums at the end."""
    named = sources_in(query.text, content.relations)
    if len(named) != 1:
        return
    files = [file for file in content.raw_files if file.source in named]
    left = sum(file.rows - file.unreadable for file in files) - sum(selected.values())
    if left > 0:
        report.notes.append(
            f"data.sources.{next(iter(named))}: {left:,} rows are taken by {query.where} for no date at all: ingest "
            "counts them as outside"
        )


def _check(report: DataReport, project: Project, raw: RawDay) -> None:
    """Checks the rows of a period as ingest does; of missing rows a sample says little, unless it is all there is."""
    spec, is_whole = project.spec, all(one.is_whole for one in report.sources)
    features, labels = rows_to_store(spec, raw)
    reasons = Counter(str(reason)[:_LONGEST] for reason in raw.rejected["reason"].to_pylist())
    report.period = SampledPeriod(
        period=str(raw.day),
        rows=features.num_rows,
        quarantined=raw.rejected.num_rows,
        reasons=dict(reasons.most_common(_REASONS)),
        labels=_by_status(labels),
    )
    accepted = raw.accepted
    if not is_whole and raw.accepted and features.num_rows < raw.accepted:
        report.notes.append(
            f"{spec.table('features')} of {raw.day}: {features.num_rows} rows from {raw.accepted} accepted ones; the "
            "rows that they are joined with may stand in the rest of the files"
        )
        accepted = features.num_rows
        labels = _of_rows(labels, features, spec.data.key)

    def judge(check: Callable[[], None]) -> None:
        try:
            check()
        except MissingRowsError as error:
            if is_whole:
                report.errors.append(error)
            else:
                report.notes.append(f"{error.found}; they may stand in the rest of the files")
        except TallyError as error:
            report.errors.append(error)

    judge(lambda: check_features(spec, raw.day, accepted, features))
    judge(lambda: check_labels(spec, raw.day, labels, features))


def _of_rows(labels: pa.Table, features: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """The labels of these rows."""
    kept = np.isin(row_hashes(labels, key), row_hashes(features, key))
    return labels.filter(number_array(kept.astype(np.int8), pa.int8()).cast(pa.bool_()))


def _by_status(labels: pa.Table) -> dict[str, int]:
    counted = pc.value_counts(labels["label_status"]).to_pylist()
    return {str(one["values"]): int(one["counts"]) for one in counted}
