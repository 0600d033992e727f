"""The files of an ingested date: whether they still hold what ingest recorded, and what their commit says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.data.delta.damage import damaged
from tallywright.data.delta.history import commits
from tallywright.data.delta.replacing import FILES_KEY
from tallywright.data.delta.standing import (
    damage_in,
    descendants,
    described,
    files_of_json,
    listing_difference,
)
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.types import feature_schema

if TYPE_CHECKING:
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.delta.standing import Files
    from tallywright.records import InputVersion
    from tallywright.spec import ModelSpec


def standing_files(lake: Lake, spec: ModelSpec, recorded: InputVersion, base: DeltaTable) -> Files | None:
    """The live files of a date, where they hold the recorded content; None where they hold something else.

    Files that are not the recorded ones (and not made of them by our own compaction) are compared by content.

    Raises:
        IntegrityError: A file is damaged or gone.
        StorageError: Storage that cannot be read.
    """
    table, day = recorded.table, recorded.score_date
    live = lake.files(table, day=day, version=base)
    files = recorded.files or None
    with storage_errors(f"comparing {day} of {lake.uri(table)} with its record"):
        if files and listing_difference(lake, table, files, live):
            files = descendants(lake, table, base, files, live)
        if files:
            problem = damage_in(lake, table, files)
            if problem:
                raise damaged(lake.uri(table), "", problem, day)
            return files
        if stored_digest(lake, spec, day, base).hex != recorded.fingerprint:
            return None
        return described(lake, table, live)


def stored_digest(lake: Lake, spec: ModelSpec, day: date, base: DeltaTable) -> RowDigest:
    """The content digest of a date's rows as they stand in the table."""
    columns = feature_schema(spec).names
    rows = lake.read(spec.table("features"), where={"score_date": day}, columns=columns, version=base)
    return digest(rows, columns)


def files_of_day(lake: Lake, table: str, day: date, base: DeltaTable, *, version: int | None = None) -> Files:
    """The live files of a date; as the commit of `version` describes them, where that is the newest one.

    Raises:
        StorageError: Storage that cannot be read.
    """
    with storage_errors(f"looking at the files of {lake.uri(table)}"):
        newest = next(commits(lake, base), {}) if version == base.version() else {}
        if FILES_KEY in newest:
            return files_of_json(newest[FILES_KEY])
        return described(lake, table, lake.files(table, day=day, version=base))
