"""Ingest: raw files to feature, label and quarantine tables, one atomic commit a date and table, and `<model>__inputs`.

Labels and quarantine go first and the features last, because the features' commit is what makes a date ingested. The
Delta version that last changed a date's content is an app transaction of that very commit, so it cannot be lost between
a commit and a record, and neither OPTIMIZE, other dates nor log cleanup move it. `<model>__inputs` adds the
fingerprint; a row that is missing or belongs to another version is computed again from the date's files.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.commit import compare_and_swap
from tallywright.data.delta.handles import LONG_LOG, require_partitioned_by
from tallywright.data.delta.lake import Change, Lake
from tallywright.data.delta.rows import scalar_of
from tallywright.data.delta.schema import as_utc
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.etl.day_checks import KNOWN, WrongLabelsError, check_features, check_labels
from tallywright.data.etl.labels import label_writer
from tallywright.data.etl.transform import RawDay, RawRun
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.types import feature_schema
from tallywright.errors import InputError, UsageError
from tallywright.observability import failpoint, log
from tallywright.records import InputVersion, Record, Reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from tallywright.data.etl.labels import LabelWriter
    from tallywright.spec import ModelSpec, Project

_PARTITION: Final = ("score_date",)
_SHOWN: Final = 5


class InputRow(Record):
    """One row of `<model>__inputs`."""

    score_date: date
    version: int
    fingerprint: str
    rows: int
    quarantined: int | None = None
    table_id: str | None = None
    recorded_at: datetime | None = None


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
    return f"tallywright/{table}/{day.isoformat()}"


def input_version(lake: Lake, spec: ModelSpec, day: date) -> InputVersion:
    """The input version of one date, as ingest left it.

    Writes the record again when a crash came between commit and record.

    Raises:
        InputError: The date was never ingested, or something else than ingest has changed its rows.
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
    if recorded is None:
        record_input(lake, spec, found, base, quarantined=_quarantined(lake, spec, day))
    elif recorded != found:
        raise InputError(
            f"{table} of {day} has {found.rows} rows, but {recorded.rows} were ingested",
            expected="a feature table that nothing but ingest writes",
            remedy=f"ingest the date again: tally run {spec.name} ingest --date {day}",
        )
    return found


def committed_input(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> InputVersion | None:
    """The input version of a date at the version of `base`; None when it was never ingested.

    The recorded fingerprint is trusted while the number of rows fits; otherwise the stored rows are hashed.
    """
    version = base.transaction_version(transaction_id(spec.table("features"), day))
    if version is None:
        return None
    require_partitioned_by(base, "score_date")
    recorded = recorded_input(lake, spec, day, base)
    rows = sum(file.rows for file in lake.files(spec.table("features"), day=day, version=base))
    if recorded is not None and recorded.rows == rows:
        return recorded
    content = stored_digest(lake, spec, day, base)
    return InputVersion(
        table=spec.table("features"), score_date=day, version=version, fingerprint=content.hex, rows=content.rows
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


def record_input(lake: Lake, spec: ModelSpec, found: InputVersion, base: DeltaTable, *, quarantined: int) -> None:
    """Writes the date's row of `<model>__inputs`."""
    row = InputRow(
        score_date=found.score_date,
        version=found.version,
        fingerprint=found.fingerprint,
        rows=found.rows,
        quarantined=quarantined,
        table_id=str(base.metadata().id),
        recorded_at=datetime.now(UTC),
    )
    Table(INPUTS, lake, spec).replace([row])


def stored_digest(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> RowDigest:
    """The content digest of a date's rows as they stand in the table."""
    columns = feature_schema(spec).names
    rows = lake.read(spec.table("features"), where={"score_date": day}, columns=columns, version=base)
    return digest(rows, columns)


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
) -> list[IngestedDay]:
    """Ingests the score dates `first` to `last`, both included.

    The SQL runs once for the range; each date is checked and committed by itself, in order. A date that is refused
    stops the run: it stays as it was, the dates before it are ingested. Only wrong values among its labels stop no
    other date: they are said at the end. Equal content makes no commit. Dates that the calendar closes are left out,
    which is said; one that has rows all the same is said as a warning.

    Args:
        project: The model project.
        lake: Where the tables are.
        first: First score date.
        last: Last score date.
        progress: Called after each date.

    Raises:
        UsageError: `last` before `first`.
        InputError: A date outside the schedule, an empty day, rows that break the contract of the tables.
        SpecError: A query that is missing or not a plain query.
        StorageError: Raw files, work folder or lake that cannot be read or written.
    """
    spec, days = project.spec, _days(project.spec, first, last)
    done: list[IngestedDay] = []
    refused: list[WrongLabelsError] = []
    with label_writer(lake, spec, last) as labels, RawRun(project, first, last, as_of=labels.as_of) as run:
        for day in days:
            if closed := spec.schedule.calendar.why_closed(day):
                _say_closed(day, closed, run.raw_rows(day))
                continue
            try:
                result = _ingest_day(spec, lake, run.day(day), labels)
            except WrongLabelsError as error:
                refused.append(error)
                continue
            log.debug("ingested %s %s: %d rows", project.spec.name, day, result.rows)
            done.append(result)
            if progress is not None:
                progress(result)
    if refused:
        raise _refusal(refused, len(days))
    return done


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


def _say_closed(day: date, why: str, rows: int) -> None:
    """Says that a closed date is left out, and aloud when it has rows all the same."""
    if rows:
        log.warning("%s is closed (%s), yet the raw files hold %d rows of it; they are not ingested", day, why, rows)
    else:
        log.info("%s is closed (%s): nothing to ingest", day, why)


def _ingest_day(spec: ModelSpec, lake: Lake, raw: RawDay, writer: LabelWriter) -> IngestedDay:
    features, labels = as_utc(raw.features, feature_schema(spec)), as_utc(raw.labels, raw.label_schema)
    check_features(spec, raw.day, raw.accepted, features)
    check_labels(spec, raw.day, labels, features)
    _write_if_changed(lake, spec.table("quarantine"), raw.rejected, raw.day)
    writer.write(raw.day, labels)
    failpoint("ingest-features")
    version, changed = _write_features(spec, lake, raw, features)
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


def _write_features(spec: ModelSpec, lake: Lake, raw: RawDay, features: pa.Table) -> tuple[InputVersion, bool]:
    """Commits the date's features unless equal ones are there, and records its input version."""
    table, content = spec.table("features"), digest(features, feature_schema(spec).names)
    change = _change(table, features, raw.day, content, transaction_id(table, raw.day))

    def attempt(base: DeltaTable) -> tuple[InputVersion, bool]:
        found = committed_input(lake, spec, raw.day, base)
        changed = found is None or found.fingerprint != content.hex
        if changed:
            version = lake.attempt(change, base)
            failpoint("ingest-committed")
            found = InputVersion(
                table=table, score_date=raw.day, version=version, fingerprint=content.hex, rows=content.rows
            )
        assert found is not None  # noqa: S101 - None counts as changed
        if recorded_input(lake, spec, raw.day, base) is None:
            record_input(lake, spec, found, base, quarantined=raw.rejected.num_rows)
        return found, changed

    return compare_and_swap(lake.race(change), attempt)


def _write_if_changed(lake: Lake, table: str, rows: pa.Table, day: date) -> None:
    """Replaces a date of a table by these rows, unless it holds the same."""
    content = digest(rows, rows.column_names)
    change = _change(table, rows, day, content)
    lake.handle(change)  # the table exists from here on, even if the day has no rows
    stored = lake.read(table, where={"score_date": day})
    if sorted(stored.column_names) == sorted(rows.column_names) and digest(stored, rows.column_names) == content:
        return
    lake.replace(table, rows, slice=change.slice, partition_by=_PARTITION, message=change.message)


def _change(table: str, rows: pa.Table, day: date, content: RowDigest, transaction: str = "") -> Change:
    message = {"userMetadata": f'{{"score_date":"{day}","rows":{content.rows},"fingerprint":"{content.hex}"}}'}
    return Change(table, rows, {"score_date": day}, _PARTITION, message, transaction, LONG_LOG)
