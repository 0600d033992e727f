"""Ingest: raw files to feature, label and quarantine tables, one atomic commit a date and table, and `<model>__inputs`.

Labels and quarantine go first and the features last, because the features' commit is what makes a date ingested
(`data/inputs/`). Each commit carries the Delta version that last changed the date's content as an app transaction. A
date that another run has committed since the raw files were read is not overwritten (`reading`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.commit import compare_and_swap
from tallywright.data.delta.rows import scalar_of
from tallywright.data.delta.schema import as_utc
from tallywright.data.etl.day_checks import KNOWN, WrongLabelsError, check_features, check_instants, check_labels
from tallywright.data.etl.labels import label_writer, labels_due, written_again
from tallywright.data.etl.raw_rows import FileRows, given_by
from tallywright.data.etl.reading import OutdatedReadingError, Reading, change_of, write_if_changed
from tallywright.data.etl.transform import RawDay, RawRun
from tallywright.data.fingerprint import digest
from tallywright.data.inputs.files import files_of_day
from tallywright.data.inputs.versions import committed_input, record_input, recorded_input, require_same_periods
from tallywright.data.types import feature_schema
from tallywright.errors import CommitConflictError, InputError, IntegrityError, TallyError, UsageError, listed
from tallywright.observability import failpoint, log
from tallywright.records import InputVersion, PeriodRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.etl.labels import LabelWriter
    from tallywright.spec import ModelSpec, Project

_READINGS: Final = 5
"""How often the raw files are read when others ingest the same dates."""


class IngestedDay(PeriodRecord):
    """The result of ingest for one date.

    `version` is the input version; `changed` tells whether the feature rows are new. `labels` counts known labels,
    `unlabelled` the rows without one (yet, or for ever).
    """

    score_date: date
    rows: int
    quarantined: int
    version: int
    fingerprint: str
    changed: bool
    labels: int
    unlabelled: int
    files: tuple[FileRows, ...] = ()
    """What became of the rows of each raw file."""


def ingest(  # noqa: PLR0913 - what a run may be told
    project: Project,
    lake: Lake,
    first: date,
    last: date,
    *,
    progress: Callable[[IngestedDay], None] | None = None,
    force: bool = False,
    code_version: str = "",
) -> list[IngestedDay]:
    """Ingests the score dates `first` to `last`, both included.

    The SQL runs once for the range; each date is checked and committed by itself, in order. A date that is refused
    stops the run: it stays as it was, the dates before it are ingested. Only wrong values among its labels stop no
    other date: they are said at the end. Equal content makes no commit; files that are damaged, gone or changed by
    others are written again. Dates that the calendar closes are left out, which is said; one that has rows all the
    same is said as a warning.

    Args:
        project: The model project.
        lake: Where the tables are.
        first: First score date.
        last: Last score date.
        progress: Called after each date.
        force: Write equal content too.
        code_version: The project's code, for the record of what is written.

    Raises:
        UsageError: `last` before `first`, or a date outside the schedule.
        InputError: An empty day, rows that break the contract of the tables.
        SpecError: A query that is missing or not a plain query.
        StorageError: Raw files, work folder or lake that cannot be read or written.
        CommitConflictError: Other runs ingested newer content of the same dates each time.
        TableContractError: The model's tables have periods of another kind.
    """
    days = _days(project.spec, first, last)
    run = _IngestRun(project, lake, days, progress, force=force, code_version=code_version)
    try:
        _ingest(run)
    except InputError as error:
        if isinstance(error, WrongLabelsError) or not run.done or not run.waiting:
            raise
        raise _stopped(run, error) from error
    return [run.done[day].model_copy(update={"changed": day in run.written}) for day in run.done]


def _stopped(run: _IngestRun, error: InputError) -> InputError:
    """The error of a run that stopped within its range, with what is done and how to go on."""
    count, noun, name = len(run.done), run.project.spec.schedule.calendar.noun, run.project.spec.name
    what = f"the {count} {noun}s before it are" if count > 1 else f"the {noun} before it is"
    return InputError(
        f"{error.found}; {what} ingested, {len(run.written)} of them anew",
        expected=error.expected,
        remedy=f"{error.remedy}; then `tally ingest {name} --from {run.waiting[0]} --to {run.days[-1]}`",
    )


def ingest_and_relabel(
    project: Project, lake: Lake, first: date, last: date, *, code_version: str = ""
) -> list[date] | None:
    """Ingests a range, and reads the labels of younger dates again in the same run of the SQL.

    Returns:
        The younger dates whose labels changed; None where they are still to be read, by `refresh_labels`: a younger
        date that cannot be read does not stop the range.

    Raises:
        TallyError: As `ingest`.
    """
    run = _IngestRun(project, lake, _days(project.spec, first, last), code_version=code_version)
    _ingest(run, relabel=True)
    return None if run.relabel is None else sorted(run.relabelled)


def _ingest(run: _IngestRun, *, relabel: bool = False) -> None:
    """Reads and writes until what was written is of the raw files as they stand."""
    spec = run.project.spec
    standing = run.lake.find(spec.table("features"))
    if standing is not None:  # before anything is written: quarantine and labels come first
        require_same_periods(spec, standing)
    if relabel:
        run.relabel = _to_relabel(run)
    for _ in range(_READINGS):
        run.refused = []
        try:
            again = _read_and_write(run)
        except OutdatedReadingError as error:
            log.info("the raw files are read again: %s", error)
            continue
        except InputError as error:
            if not run.relabel:
                raise
            log.info("the labels of younger dates are read by themselves: %s", error.found)
            run.relabel = None  # rows of their dates may be what is wrong
            continue
        if not again and run.refused:
            raise _refusal(run.refused, len(run.days))
        if not again:
            return
        log.info("the raw files are read again, because they changed before %s was written", again[0])
        run.done = {day: result for day, result in run.done.items() if day not in again}
    raise CommitConflictError(
        f"other runs ingested {[*run.waiting, *run.days][0]} of {spec.name}, or its raw files changed, each of "
        f"{_READINGS} times that they were read",
        expected="a pause between deliveries, and one ingest at a time",
        remedy="run it again",
    )


@dataclass
class _IngestRun:
    """A run of ingest, over all its readings of the raw files.

    Attributes:
        project: The model project.
        lake: Where the tables are.
        days: All dates of the range, closed ones too.
        progress: Called after each date.
        done: What was ingested, from files that have not changed since.
        written: Dates that this run has changed.
        refused: Why dates were refused in the last reading.
        read: True once the raw files were read.
        force: Write equal content too.
        code_version: The project's code, for the record of what is written.
        relabel: The younger dates whose labels are read again; None where they are not.
        relabelled: Those whose labels have changed.
    """

    project: Project
    lake: Lake
    days: list[date]
    progress: Callable[[IngestedDay], None] | None = None
    done: dict[date, IngestedDay] = field(default_factory=dict)
    written: set[date] = field(default_factory=set)
    refused: list[WrongLabelsError] = field(default_factory=list)
    read: bool = False
    force: bool = False
    code_version: str = ""
    relabel: list[date] | None = None
    relabelled: set[date] = field(default_factory=set)

    @property
    def waiting(self) -> list[date]:
        """The open dates that are not done."""
        calendar = self.project.spec.schedule.calendar
        return [day for day in self.days if day not in self.done and calendar.is_open(day)]

    @property
    def closed(self) -> list[tuple[date, str]]:
        """The dates that the calendar closes, and by which rule."""
        calendar = self.project.spec.schedule.calendar
        return [(day, why) for day in self.days if (why := calendar.why_closed(day))]


def _read_and_write(run: _IngestRun) -> list[date]:
    """Reads the raw files once and ingests what waits; returns the dates that were made from older files.

    Raises:
        OutdatedReadingError: Another run has committed a day since; the days before it are done.
    """
    spec, days = run.project.spec, run.waiting
    ends = (days or run.days) if run.read else run.days
    relabel = run.relabel or []
    reading = Reading.before(run.lake, spec, [*days, *relabel], force=run.force)
    made: list[date] = []
    with (
        label_writer(run.lake, spec, run.days[-1]) as labels,
        RawRun(run.project, ends[0], ends[-1], as_of=labels.as_of, labels_from=min(relabel, default=None)) as raw,
    ):
        for day, why in () if run.read else run.closed:
            _say_closed(day, why, raw.raw_rows(day))
        run.read = True
        for day in days:
            try:
                result = _ingest_day(run, raw.day(day), reading, labels)
            except WrongLabelsError as error:
                run.refused.append(error)
                made.append(day)
                continue
            except InputError as error:
                raw.explain(error)
                raise
            log.debug("ingested %s %s: %d rows", spec.name, day, result.rows)
            run.done[day] = result
            if result.changed:
                made.append(day)
                run.written.add(day)
            if run.progress is not None:
                run.progress(result)
        raw.record_unreadable(run.lake)
        _relabel(run, raw, labels, replace(reading, force=False))
        return [] if raw.is_current else [*made, *relabel]


def _to_relabel(run: _IngestRun) -> list[date] | None:
    """The younger dates whose labels are read again; None where one is not before the range: it is no younger one."""
    first, last, days = run.days[0], run.days[-1], set(run.waiting)
    due = [day for day in labels_due(run.lake, run.project.spec, first, last) if day not in days]
    return due if all(day < first for day in due) else None


def _relabel(run: _IngestRun, raw: RawRun, labels_to: LabelWriter, reading: Reading) -> None:
    """Writes the labels of the younger dates; what stands in the way of that concerns no date of the run."""
    try:
        for change in written_again(run.lake, run.project.spec, run.relabel or (), raw, labels_to, reading):
            run.relabelled.add(change.score_date)
    except TallyError as error:
        log.info("the labels of younger dates are read by themselves: %s", error.found)
        run.relabel = None


def _refusal(refused: list[WrongLabelsError], days: int) -> InputError:
    """The error about the refused dates of a run: their own where there is one."""
    if len(refused) == 1:
        return refused[0]
    return InputError(
        f"{len(refused)} of {days} days are refused: {listed([one.found for one in refused], between='; ')}",
        expected=refused[0].expected,
        remedy=refused[0].remedy,
    )


def _days(spec: ModelSpec, first: date, last: date) -> list[date]:
    if last < first:
        raise UsageError(f"the range ends on {last}, before it starts on {first}", expected="first date <= last date")
    for day in (first, last):
        if not spec.schedule.covers(day):
            raise UsageError(
                f"{day} is outside the schedule of {spec.name}; nothing was changed",
                expected=f"score dates from {spec.schedule.start_date} to {spec.schedule.end_date or 'any later day'}",
                remedy="choose another date, or change schedule.start_date and end_date",
            )
    calendar = spec.schedule.calendar
    return list(calendar.between(calendar.require(first), last))


def _say_closed(day: date, why: str, rows: int) -> None:
    """Says that a closed date is left out, and aloud when it has rows all the same."""
    if rows:
        log.warning("%s is closed (%s), yet the raw files hold %d rows of it; they are not ingested", day, why, rows)
    else:
        log.info("%s is closed (%s): nothing to ingest", day, why)


def rows_to_store(spec: ModelSpec, raw: RawDay) -> tuple[pa.Table, pa.Table]:
    """A date's features and labels with the types of their tables, not checked yet but for their instants.

    Raises:
        InputError: Dates or instants that not every reader has.
    """
    check_instants(raw.features, spec.data.key, f"{spec.table('features')} of {raw.day}")
    check_instants(raw.labels, spec.data.key, f"{spec.table('labels')} of {raw.day}")
    return as_utc(raw.features, feature_schema(spec)), as_utc(raw.labels, raw.label_schema)


def _ingest_day(run: _IngestRun, raw: RawDay, reading: Reading, labels_to: LabelWriter) -> IngestedDay:
    spec, lake = run.project.spec, run.lake
    features, labels = rows_to_store(spec, raw)
    if not raw.accepted and raw.rejected.num_rows:
        log.warning("%s: all of its %d rows are quarantined, such as: %s", raw.day, raw.rejected.num_rows,
                    raw.rejected["reason"][0])  # fmt: skip
    check_features(spec, raw.day, raw.accepted, features)
    check_labels(spec, raw.day, labels, features)
    failpoint("ingest-quarantine")
    write_if_changed(lake, spec.table("quarantine"), raw.rejected, raw.day, reading)
    failpoint("ingest-labels")
    labels_to.write(raw.day, labels, reading)
    failpoint("ingest-features")
    version, changed = _write_features(run, raw, features, reading)
    known = pc.sum(pc.equal(labels["label_status"], scalar_of(KNOWN, pa.string()))).as_py() or 0
    return IngestedDay(
        score_date=raw.day,
        rows=features.num_rows,
        quarantined=raw.rejected.num_rows,
        version=version.version,
        fingerprint=version.fingerprint,
        changed=changed,
        labels=known,
        unlabelled=features.num_rows - known,
        files=raw.files,
    )


def _write_features(run: _IngestRun, raw: RawDay, features: pa.Table, reading: Reading) -> tuple[InputVersion, bool]:
    """Commits the date's features unless equal ones are there, and records its input version."""
    spec, lake = run.project.spec, run.lake
    table, content = spec.table("features"), digest(features, feature_schema(spec).names)
    change = change_of(table, features, raw.day, content, cadence=spec.schedule.calendar.cadence)

    def attempt(base: DeltaTable) -> tuple[InputVersion, bool]:
        found = None if reading.force else _sound_input(lake, spec, raw.day, base)
        changed = found is None or found.fingerprint != content.hex
        if changed:
            reading.require_newest(base, table, raw.day)
            version = lake.attempt(change, base)
            failpoint("ingest-committed")
            found = InputVersion(
                table=table,
                score_date=raw.day,
                version=version,
                fingerprint=content.hex,
                rows=content.rows,
                files=files_of_day(lake, table, raw.day, base, version=version),
                raw_files=given_by(raw.files, raw.selected),
                code_version=run.code_version,
            )
        assert found is not None  # noqa: S101 - None counts as changed
        recorded = recorded_input(lake, spec, raw.day, base)
        if found.raw_files is None:  # of before: the same content, read from these files now
            found = found.model_copy(update={"raw_files": given_by(raw.files, raw.selected)})
        if recorded is None or (recorded.files, recorded.raw_files) != (found.files, found.raw_files):
            record_input(lake, spec, found, base, quarantined=raw.rejected.num_rows, raw_digest=raw.raw_digest)
        return found, changed

    return compare_and_swap(lake.race(change), attempt)


def _sound_input(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> InputVersion | None:
    """As `committed_input`; None also where a file is damaged or gone, so that the date must be written again."""
    try:
        return committed_input(lake, spec, day, base)
    except IntegrityError as error:
        log.warning("%s is written again: %s", day, error.found)
        return None
