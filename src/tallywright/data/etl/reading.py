"""A reading of the raw files, and what it may overwrite: only what stood before it began.

Before the raw files are read, the version that last changed each date is noted in every table. A commit of a date is
made only while that is still the newest one: where another run has committed the date since, its content may be newer
than what was read here, and the raw files are read again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.commit import compare_and_swap
from tallywright.data.delta.generation import content_transaction, content_version, transaction_version
from tallywright.data.delta.handles import LONG_LOG, description_of
from tallywright.data.delta.lake import Change
from tallywright.data.fingerprint import digest
from tallywright.errors import IntegrityError
from tallywright.observability import log
from tallywright.score_period import Hour, date_of, partition_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.fingerprint import RowDigest
    from tallywright.spec import ModelSpec

TABLES: Final = ("quarantine", "labels", "features")
"""What a date of raw files becomes, in the order of the commits."""


class OutdatedReadingError(Exception):
    """Another run has committed the date since this one began to read the raw files."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What stood in each table before the raw files were read, by table and date."""

    standing: Mapping[tuple[str, date], int | None]
    force: bool = False
    """Write equal content too."""

    @classmethod
    def before(cls, lake: Lake, spec: ModelSpec, days: Iterable[date], *, force: bool = False) -> Reading:
        """Notes what stands; to be called before the raw files are read."""
        dates = list(days)
        tables = [spec.table(what) for what in TABLES]
        return cls({(table, day): content_version(lake, table, day) for table in tables for day in dates}, force)

    @property
    def days(self) -> list[date]:
        """The dates that it is about, in order."""
        return sorted({day for _, day in self.standing})

    def require_newest(self, base: DeltaTable, table: str, day: date) -> None:
        """Refuses to go over content of the date that was committed since.

        Raises:
            OutdatedReadingError: The raw files have to be read again.
        """
        found, known = transaction_version(base, content_transaction(table, day)), self.standing[table, day]
        if found != known:
            raise OutdatedReadingError(
                f"{table} of {day} was committed as version {found} since the raw files were read, at version {known}"
            )


def write_if_changed(lake: Lake, table: str, rows: pa.Table, day: date, reading: Reading) -> pa.Table | None:
    """Replaces a date of a table by these rows, and returns those that it held; None where it holds the same.

    A date with a damaged file is written again, as one that held nothing.

    Raises:
        OutdatedReadingError: Another run has changed the date since the raw files were read.
    """
    content = digest(rows, rows.column_names)
    change = change_of(table, rows, day, content)

    def attempt(base: DeltaTable) -> pa.Table | None:
        stored = _stored(lake, table, day, base)
        same = stored is not None and not reading.force and _holds(stored, rows, content)
        if same:
            return None
        reading.require_newest(base, table, day)
        lake.attempt(change, base)
        return rows.slice(0, 0) if stored is None else stored

    # The table exists from here on, even if the day has no rows.
    return compare_and_swap(lake.race(change), attempt)


def _holds(stored: pa.Table, rows: pa.Table, content: RowDigest) -> bool:
    """True where the stored rows are these; a column that only the table has must be null."""
    if not stored.num_rows and not rows.num_rows:
        return True
    older = [name for name in stored.column_names if name not in rows.column_names]
    known = all(name in stored.column_names for name in rows.column_names)
    is_empty = all(stored[name].null_count == stored.num_rows for name in older)
    return known and is_empty and digest(stored, rows.column_names) == content


def _stored(lake: Lake, table: str, day: date, base: DeltaTable) -> pa.Table | None:
    """The rows of a date as they stand; None where a file is damaged or gone: then the date is written again."""
    try:
        return lake.read(table, where={"score_date": day}, version=base)
    except IntegrityError as error:
        log.warning("%s is written again: %s", day, error.found)
        return None


def change_of(table: str, rows: pa.Table, day: date, content: RowDigest, *, cadence: str = "day") -> Change:
    """The change that makes these rows the content of a period."""
    named = f'"score_date":"{date_of(day)}",' + (f'"score_hour":"{day}",' if isinstance(day, Hour) else "")
    message = {"userMetadata": f'{{{named}"rows":{content.rows},"fingerprint":"{content.hex}"}}'}
    point = f"before-{table.rpartition('__')[2]}"
    transaction = content_transaction(table, day)
    partition = partition_columns(hourly=isinstance(day, Hour))
    change = Change(table, rows, {"score_date": day}, partition, message, transaction, LONG_LOG, point=point)
    return replace(change, description=description_of(cadence))


@dataclass(frozen=True, slots=True)
class WrittenContent:
    """What a commit of `change_of` says of the content that it wrote."""

    day: date
    rows: int
    fingerprint: str
    at: datetime


def written_content(commit: Mapping[str, Any]) -> WrittenContent | None:
    """What a commit's information says of a period's content; None of a commit that says nothing of one."""
    try:
        told = json.loads(commit.get("userMetadata") or "{}")
        day = date.fromisoformat(told["score_date"])
        if "score_hour" in told:
            day = Hour(day, datetime.fromisoformat(told["score_hour"]))
        at = datetime.fromtimestamp(int(commit["timestamp"]) / 1000, UTC)
        return WrittenContent(day, int(told["rows"]), str(told["fingerprint"]), at)
    except (ValueError, KeyError, TypeError):
        return None
