"""Ingest: raw files to feature, label and quarantine tables, one atomic commit a date and table.

Labels and quarantine go first and the features last, because the features' commit is what makes a date ingested.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.commit import compare_and_swap
from tallywright.data.delta.lake import Change, Lake
from tallywright.data.delta.protocol import LONG_LOG
from tallywright.data.delta.schema import as_utc
from tallywright.data.etl.day_checks import KNOWN, check_features, check_labels
from tallywright.data.etl.input_record import (
    committed_input,
    input_version,
    record_input,
    recorded_input,
    transaction_id,
)
from tallywright.data.etl.transform import RawDay, RawRun
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.types import feature_schema
from tallywright.errors import InputError, UsageError
from tallywright.observability import failpoint, log
from tallywright.records import InputVersion, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from tallywright.spec import ModelSpec, Project

__all__ = ["IngestedDay", "ingest", "input_version"]

_PARTITION: Final = ("score_date",)


class IngestedDay(Record):
    """What ingest did with one date.

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
    stops the run: it stays as it was, the dates before it are ingested. Equal content makes no commit.

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
    days = _days(project.spec, first, last)
    done: list[IngestedDay] = []
    with RawRun(project, first, last) as run:
        for day in days:
            result = _ingest_day(project.spec, lake, run.day(day))
            log.debug("ingested %s %s: %d rows", project.spec.name, day, result.rows)
            done.append(result)
            if progress is not None:
                progress(result)
    return done


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


def _ingest_day(spec: ModelSpec, lake: Lake, raw: RawDay) -> IngestedDay:
    features, labels = as_utc(raw.features, feature_schema(spec)), as_utc(raw.labels, raw.label_schema)
    check_features(spec, raw.day, raw.accepted, features)
    check_labels(spec, raw.day, labels, features)
    _write_if_changed(lake, spec.table("quarantine"), raw.rejected, raw.day)
    _write_if_changed(lake, spec.table("labels"), labels, raw.day)
    failpoint("ingest-features")
    version, changed = _write_features(spec, lake, raw, features)
    known = pc.sum(pc.equal(labels["label_status"], KNOWN)).as_py() or 0
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
    """Commits the date unless its content is there already, and records it; loses politely to another writer."""
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
        assert found is not None  # noqa: S101 - told apart by `changed`
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
