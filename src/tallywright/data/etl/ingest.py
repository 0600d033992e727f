"""Ingest: raw files to feature, label and quarantine tables, one atomic commit a date and table, and `<model>__inputs`.

Labels and quarantine go first and the features last, because the features' commit is what makes a date ingested. The
Delta version that last changed a date's content is an app transaction of that very commit, so it cannot be lost between
a commit and a record, and neither OPTIMIZE, other dates nor log cleanup move it; labels and quarantine carry one too. A
date that another run has committed since the raw files were read is not overwritten (`reading`). `<model>__inputs` adds
the fingerprint; a row that is missing or belongs to another version is computed again from the date's files.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.commit import compare_and_swap
from tallywright.data.delta.generation import content_transaction, content_version
from tallywright.data.delta.handles import LONG_LOG, require_partitioned_by
from tallywright.data.delta.lake import Change, Lake
from tallywright.data.delta.rows import scalar_of
from tallywright.data.delta.schema import as_utc
from tallywright.data.delta.standing import files_json, files_of_json
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.etl.day_checks import KNOWN, WrongLabelsError, check_features, check_labels
from tallywright.data.etl.input_files import files_of_day, standing_files, stored_digest
from tallywright.data.etl.reading import OutdatedReadingError, Reading
from tallywright.data.etl.transform import RawDay, RawRun
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.types import feature_schema
from tallywright.errors import CommitConflictError, InputError, IntegrityError, UsageError
from tallywright.observability import failpoint, log
from tallywright.records import InputVersion, Record, Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from tallywright.spec import ModelSpec, Project

_PARTITION: Final = ("score_date",)
_SHOWN: Final = 5
_READINGS: Final = 5
"""How often the raw files are read when others ingest the same dates."""


class InputRow(Record):
    """One row of `<model>__inputs`."""

    score_date: date
    version: int
    fingerprint: str
    rows: int
    quarantined: int | None = None
    table_id: str | None = None
    recorded_at: datetime | None = None
    raw_digest: str | None = None
    """Of the raw content that was read; None in older rows, and where a lost row was written again."""
    reading: int | None = None
    """Numbers the readings that changed the date."""
    files_json: str | None = None
    """The files of the features, a `CommittedFile` each."""


INPUTS: Final = Declaration(
    what="inputs",
    record=InputRow,
    key=("score_date",),
    slice=("score_date",),
    kind=Kind.SLICE,
    doc="what was ingested of each date: version, fingerprint, rows",
)


def transaction_id(table: str, day: date) -> str:
    """The app transaction whose version is the input version of a date."""
    return content_transaction(table, day)


def input_version(lake: Lake, spec: ModelSpec, day: date) -> InputVersion:
    """The input version of one date, as ingest left it.

    Writes the record again when a crash came between commit and record.

    Raises:
        InputError: The date was never ingested.
        IntegrityError: Something else than ingest has changed its rows, or a file is damaged or gone.
    """
    table = spec.table("features")
    base = lake.find(table)
    found = committed_input(lake, spec, day, base) if base is not None else None
    if base is None or found is None:
        raise InputError(
            f"{table} holds no input for {day}",
            expected="a date that was ingested",
            remedy=f"tally run {spec.name} ingest --date {day}",
        )
    recorded = recorded_input(lake, spec, day, base)
    if recorded is not None and recorded.fingerprint != found.fingerprint:
        raise IntegrityError(
            f"{table} of {day} has {found.rows} rows that are not the {recorded.rows} rows that were ingested",
            expected="a feature table that nothing but ingest writes",
            remedy=f"tally ingest {spec.name} --date {day}",
        )
    if recorded is None or recorded.files != found.files:
        record_input(lake, spec, found, base, quarantined=_quarantined(lake, spec, day))
    return found


def committed_input(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> InputVersion | None:
    """The input version of a date at the version of `base`; None when it was never ingested.

    The recorded fingerprint is trusted while the live files are the recorded ones, or made of them by our compaction;
    otherwise the stored rows are hashed.

    Raises:
        IntegrityError: A file is damaged or gone.
    """
    version = base.transaction_version(transaction_id(spec.table("features"), day))
    if version is None:
        return None
    require_partitioned_by(base, "score_date")
    recorded = recorded_input(lake, spec, day, base)
    files = standing_files(lake, spec, recorded, base) if recorded is not None else None
    if recorded is not None and files is not None:
        return recorded.model_copy(update={"files": files})
    content = stored_digest(lake, spec, day, base)
    return InputVersion(
        table=spec.table("features"),
        score_date=day,
        version=version,
        fingerprint=content.hex,
        rows=content.rows,
        files=files_of_day(lake, spec.table("features"), day, base),
    )


def recorded_input(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> InputVersion | None:
    """The recorded input version of a date, if it is of the commit that `base` has for that date."""
    version = base.transaction_version(transaction_id(spec.table("features"), day))
    for row in Table(INPUTS, lake, spec).read({"score_date": day}):
        if row.version == version and row.table_id == str(base.metadata().id):
            return InputVersion(
                table=spec.table("features"),
                score_date=day,
                version=row.version,
                fingerprint=row.fingerprint,
                rows=row.rows,
                files=files_of_json(row.files_json),
            )
    return None


def latest_inputs(lake: Lake, spec: ModelSpec) -> list[Reference]:
    """The input version of every ingested date: what scoring, or scoring again, would read."""
    table = spec.table("features")
    base = lake.find(table)
    if base is None:
        return []
    days = {file.day for file in lake.files(table, version=base) if file.day is not None}
    found = (base.transaction_version(transaction_id(table, day)) for day in days)
    versions = {version for version in found if version is not None}
    return [Reference(table=table, version=version, by="input") for version in sorted(versions)]


def record_input(
    lake: Lake, spec: ModelSpec, found: InputVersion, base: DeltaTable, *, quarantined: int, raw_digest: str = ""
) -> None:
    """Writes the date's row of `<model>__inputs`, unless the date has been ingested again meanwhile."""
    inputs = Table(INPUTS, lake, spec)

    def outdated(_: DeltaTable) -> str:
        newest = content_version(lake, found.table, found.score_date)
        if newest is None or newest <= found.version:
            return ""
        return f"{found.table} of {found.score_date} has version {newest}, and this is about version {found.version}"

    known = inputs.read({"score_date": found.score_date})
    row = InputRow(
        score_date=found.score_date,
        version=found.version,
        fingerprint=found.fingerprint,
        rows=found.rows,
        quarantined=quarantined,
        table_id=str(base.metadata().id),
        recorded_at=datetime.now(UTC),
        raw_digest=raw_digest or next((one.raw_digest for one in known if one.version == found.version), None),
        reading=1 + max((one.reading or 0 for one in known), default=0),
        files_json=files_json(found.files),
    )
    inputs.replace([row], outdated=outdated)


def _quarantined(lake: Lake, spec: ModelSpec, day: date) -> int:
    table = spec.table("quarantine")
    return sum(file.rows for file in lake.files(table, day=day)) if lake.find(table) is not None else 0


class IngestedDay(Record):
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


def ingest(
    project: Project,
    lake: Lake,
    first: date,
    last: date,
    *,
    progress: Callable[[IngestedDay], None] | None = None,
    force: bool = False,
) -> list[IngestedDay]:
    """Ingests the score dates `first` to `last`, both included.

    The SQL runs once for the range; each date is checked and committed by itself, in order. A date that is refused
    stops the run: it stays as it was, the dates before it are ingested. Only wrong values among its labels stop no
    other date: they are said at the end. Equal content makes no commit; files that are damaged, gone or changed by
    others are written again.

    Args:
        project: The model project.
        lake: Where the tables are.
        first: First score date.
        last: Last score date.
        progress: Called after each date.
        force: Write equal content too.

    Raises:
        UsageError: `last` before `first`.
        InputError: A date outside the schedule, an empty day, rows that break the contract of the tables.
        SpecError: A query that is missing or not a plain query.
        StorageError: Raw files, work folder or lake that cannot be read or written.
        CommitConflictError: Other runs ingested newer content of the same dates each time.
    """
    days = _days(project.spec, first, last)
    done: dict[date, IngestedDay] = {}
    written: set[date] = set()
    for _ in range(_READINGS):
        waiting = [day for day in days if day not in done]
        refused: list[WrongLabelsError] = []
        reading = Reading.before(lake, project.spec, waiting, force=force)
        try:
            again = _read_and_write(project, lake, reading, done, refused, progress)
        except OutdatedReadingError as error:
            log.info("the raw files are read again: %s", error)
            continue
        written.update(day for day, result in done.items() if result.changed)
        if not again and refused:
            raise _refusal(refused, len(days))
        if not again:
            return [done[day].model_copy(update={"changed": day in written}) for day in days]
        log.info("the raw files are read again, because they changed before %s was written", again[0])
        done = {day: result for day, result in done.items() if day not in again}
    left = [day for day in days if day not in done]
    raise CommitConflictError(
        f"other runs ingested {left[0]} of {project.spec.name}, or its raw files changed, each of {_READINGS} times "
        "that they were read",
        expected="a pause between deliveries, and one ingest at a time",
        remedy="run it again",
    )


def _read_and_write(
    project: Project,
    lake: Lake,
    reading: Reading,
    done: dict[date, IngestedDay],
    refused: list[WrongLabelsError],
    progress: Callable[[IngestedDay], None] | None,
) -> list[date]:
    """Reads the raw files once and ingests its days into `done`; returns those that were made from older files.

    Raises:
        OutdatedReadingError: Another run has committed a day since; the days before it are done.
    """
    days = reading.days
    made: list[date] = []
    with RawRun(project, days[0], days[-1]) as run:
        for day in days:
            try:
                result = _ingest_day(project.spec, lake, run.day(day), reading)
            except WrongLabelsError as error:
                refused.append(error)
                made.append(day)
                continue
            log.debug("ingested %s %s: %d rows", project.spec.name, day, result.rows)
            done[day] = result
            made += [day] * result.changed
            if progress is not None:
                progress(result)
        return [] if run.is_current else made


def _refusal(refused: list[WrongLabelsError], days: int) -> InputError:
    """The error about the refused dates of a run: their own where there is one."""
    if len(refused) == 1:
        return refused[0]
    named = "; ".join(error.found for error in refused[:_SHOWN])
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    return InputError(
        f"{len(refused)} of {days} days are refused: {named}{more}",
        expected=refused[0].expected,
        remedy=refused[0].remedy,
    )


def _days(spec: ModelSpec, first: date, last: date) -> list[date]:
    if last < first:
        raise UsageError(f"the range ends on {last}, before it starts on {first}", expected="first date <= last date")
    for day in (first, last):
        if not spec.schedule.covers(day):
            raise InputError(
                f"{day} is outside the schedule of {spec.name}; nothing was changed",
                expected=f"score dates from {spec.schedule.start_date} to {spec.schedule.end_date or 'any later day'}",
                remedy="choose another date, or change schedule.start_date and end_date",
            )
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _ingest_day(spec: ModelSpec, lake: Lake, raw: RawDay, reading: Reading) -> IngestedDay:
    features, labels = as_utc(raw.features, feature_schema(spec)), as_utc(raw.labels, raw.label_schema)
    check_features(spec, raw.day, raw.accepted, features)
    check_labels(spec, raw.day, labels, features)
    failpoint("ingest-quarantine")
    _write_if_changed(lake, spec.table("quarantine"), raw.rejected, raw.day, reading)
    failpoint("ingest-labels")
    _write_if_changed(lake, spec.table("labels"), labels, raw.day, reading)
    failpoint("ingest-features")
    version, changed = _write_features(spec, lake, raw, features, reading)
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
    )


def _write_features(
    spec: ModelSpec, lake: Lake, raw: RawDay, features: pa.Table, reading: Reading
) -> tuple[InputVersion, bool]:
    """Commits the date's features unless equal ones are there, and records its input version."""
    table, content = spec.table("features"), digest(features, feature_schema(spec).names)
    change = _change(table, features, raw.day, content)

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
            )
        assert found is not None  # noqa: S101 - None counts as changed
        recorded = recorded_input(lake, spec, raw.day, base)
        if recorded is None or recorded.files != found.files:
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


def _holds(lake: Lake, base: DeltaTable, change: Change, content: RowDigest) -> bool:
    """True when the table has exactly this content of the date; a damaged file has not."""
    columns = change.data.column_names
    try:
        stored = lake.read(change.table, where=change.slice, version=base)
    except IntegrityError as error:
        log.warning("%s is written again: %s", change.slice["score_date"], error.found)
        return False
    return sorted(stored.column_names) == sorted(columns) and digest(stored, columns) == content


def _write_if_changed(lake: Lake, table: str, rows: pa.Table, day: date, reading: Reading) -> None:
    """Replaces a date of a table by these rows, unless it holds the same.

    Raises:
        OutdatedReadingError: Another run has changed the date since the raw files were read.
    """
    content = digest(rows, rows.column_names)
    change = _change(table, rows, day, content)

    def attempt(base: DeltaTable) -> None:
        if not reading.force and _holds(lake, base, change, content):
            return
        reading.require_newest(base, table, day)
        lake.attempt(change, base)

    compare_and_swap(lake.race(change), attempt)  # the table exists from here on, even if the day has no rows


def _change(table: str, rows: pa.Table, day: date, content: RowDigest) -> Change:
    message = {"userMetadata": f'{{"score_date":"{day}","rows":{content.rows},"fingerprint":"{content.hex}"}}'}
    point = f"before-{table.rpartition('__')[2]}"
    transaction = content_transaction(table, day)
    return Change(table, rows, {"score_date": day}, _PARTITION, message, transaction, LONG_LOG, point=point)
