"""The input version of an ingested date: the commit of its rows, their fingerprint and files, and its record.

The Delta version that last changed a date's content is an app transaction of that very commit, so it cannot be lost
between a commit and a record, and neither OPTIMIZE, other dates nor log cleanup move it. `<model>__inputs` adds the
fingerprint; a row that is missing or belongs to another version is computed again from the date's files.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

from tallywright.data.delta.generation import content_transaction, content_version, transaction_version
from tallywright.data.delta.handles import require_cadence, require_partitioned_by
from tallywright.data.delta.standing import files_json, files_of_json
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.inputs.files import files_of_day, standing_files, stored_digest
from tallywright.errors import InputError, IntegrityError
from tallywright.records import InputVersion, PeriodRecord, RawFileRows, Reference, StoredPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec


class EarlierContent(StoredPart):
    """A content that a date had before it was ingested again."""

    version: int
    fingerprint: str
    rows: int
    raw_files: tuple[RawFileRows, ...] | None = None
    code_version: str = ""


_EARLIER: Final = TypeAdapter(tuple[EarlierContent, ...])
_RAW_FILES: Final = TypeAdapter(tuple[RawFileRows, ...])
_MOST_EARLIER: Final = 100
"""Contents of before that a date's record keeps."""


class InputRow(PeriodRecord):
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
    raw_files_json: str | None = None
    """The raw files that the date was ingested from, a `RawFileRows` each."""
    code_version: str | None = None
    """The project's code that ingested it."""
    earlier_json: str | None = None
    """The contents that the date had before, an `EarlierContent` each: models may have been trained on them."""

    @property
    def raw_files(self) -> tuple[RawFileRows, ...] | None:
        """The raw files that the date was ingested from; None where that was not recorded."""
        return None if self.raw_files_json is None else _RAW_FILES.validate_json(self.raw_files_json)

    @property
    def earlier(self) -> tuple[EarlierContent, ...]:
        """The contents that the date had before, the oldest first."""
        return () if self.earlier_json is None else _EARLIER.validate_json(self.earlier_json)

    @property
    def as_earlier(self) -> EarlierContent:
        """The content that the row is about."""
        return EarlierContent(
            version=self.version,
            fingerprint=self.fingerprint,
            rows=self.rows,
            raw_files=self.raw_files,
            code_version=self.code_version or "",
        )


INPUTS: Final = Declaration(
    what="inputs",
    record=InputRow,
    key=("score_date",),
    slice=("score_date",),
    kind=Kind.SLICE,
    doc="what was ingested of each date: version, fingerprint, rows",
)


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
    version = transaction_version(base, content_transaction(spec.table("features"), day))
    if version is None:
        return None
    require_same_periods(spec, base)
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
    version = transaction_version(base, content_transaction(spec.table("features"), day))
    for row in Table(INPUTS, lake, spec).read({"score_date": day}):
        if row.version == version and row.table_id == str(base.metadata().id):
            return InputVersion(
                table=spec.table("features"),
                score_date=day,
                version=row.version,
                fingerprint=row.fingerprint,
                rows=row.rows,
                files=files_of_json(row.files_json),
                raw_files=row.raw_files,
                code_version=row.code_version or "",
            )
    return None


def latest_inputs(lake: Lake, spec: ModelSpec) -> list[Reference]:
    """The input version of every ingested date: what scoring, or scoring again, would read."""
    table = spec.table("features")
    base = lake.find(table)
    if base is None:
        return []
    days = {file.day for file in lake.files(table, version=base) if file.day is not None}
    found = (transaction_version(base, content_transaction(table, day)) for day in days)
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
    same = next((one for one in known if one.version == found.version), None)
    raw_files = found.raw_files if found.raw_files is not None or same is None else same.raw_files
    table_id = str(base.metadata().id)
    row = InputRow(
        score_date=found.score_date,
        version=found.version,
        fingerprint=found.fingerprint,
        rows=found.rows,
        quarantined=quarantined,
        table_id=table_id,
        recorded_at=datetime.now(UTC),
        raw_digest=raw_digest or (None if same is None else same.raw_digest),
        reading=1 + max((one.reading or 0 for one in known), default=0),
        files_json=files_json(found.files),
        raw_files_json=None if raw_files is None else _RAW_FILES.dump_json(raw_files).decode(),
        code_version=found.code_version or (None if same is None else same.code_version),
        earlier_json=_earlier_json([one for one in known if one.table_id == table_id], found.version),
    )
    inputs.replace([row], outdated=outdated)


def _earlier_json(known: Sequence[InputRow], version: int) -> str | None:
    """The contents before that of a version, from the rows that stood; None where there were none."""
    found = [one for row in known for one in (*row.earlier, *([row.as_earlier] if row.version != version else []))]
    return _EARLIER.dump_json(tuple(found[-_MOST_EARLIER:])).decode() if found else None


def _quarantined(lake: Lake, spec: ModelSpec, day: date) -> int:
    table = spec.table("quarantine")
    return sum(file.rows for file in lake.files(table, day=day)) if lake.find(table) is not None else 0


def require_same_periods(spec: ModelSpec, base: DeltaTable) -> None:
    """Refuses a feature table whose periods are of another kind than the model's.

    Raises:
        TableContractError: Names both kinds.
    """
    require_partitioned_by(base, *spec.partition)
    require_cadence(base, spec.schedule.calendar.cadence)
