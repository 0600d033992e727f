"""What ingest remembers about each date: the input version, its fingerprint, its rows.

The Delta version that last changed a date's content is an app transaction of that very commit, so it cannot be lost
between a commit and a record, and neither OPTIMIZE, other dates nor log cleanup move it. `<model>__inputs` adds the
fingerprint; a row that is missing or belongs to another version is computed again from the date's files.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.declaration import Declaration, Kind
from tallywright.data.delta.protocol import require_partitioned_by
from tallywright.data.delta.table import Table
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.types import feature_schema
from tallywright.errors import InputError
from tallywright.records import InputVersion, Record, Reference

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec


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

    The recorded fingerprint is believed while the number of rows fits; otherwise the stored rows are read.
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
    """The record of a date, if it speaks of the commit that `base` has for that date."""
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
    """Writes the record of a date."""
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
