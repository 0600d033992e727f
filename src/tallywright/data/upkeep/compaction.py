"""Compaction (OPTIMIZE): rewrites the small files of a date, or of an undated table, into one, beside other writers.

delta-rs' own `optimize.compact` retries by itself, whatever `max_commit_retries` says, and its retry does not see what
another OPTIMIZE has removed: two at once leave every row twice. So the files are rewritten here, and committed
like everything else, by a strict compare-and-swap. A lost race costs no second rewriting: the new file replaces
exactly the files it was made from, and is committed as long as all of them are still part of the table.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from tallywright.data.delta.commit import Race, compare_and_swap
from tallywright.data.delta.files import add_actions, periods_of_files
from tallywright.data.delta.replacing import FILES_KEY, VERSION_KEY
from tallywright.data.delta.standing import REPLACED_KEY, files_json
from tallywright.data.storage.filesystem import as_storage_error, storage_errors
from tallywright.data.upkeep.rewrite import Rewritten, rewrite
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.observability import failpoint, log
from tallywright.score_period import PARTITIONINGS, partition_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake

TARGET_BYTES: Final = 128 << 20
"""About as large as a file may become; one of half that size is not small any more."""
ATTEMPTS: Final = 30
_LEAST_BYTES: Final = 16 << 10
"""Files of up to this size, which a footer fills, are of one tier; each further one is of four times the size."""


class _BusyError(Exception):
    """Every attempt lost against other writers; the next maintenance finds the files again."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of the current version; `path` as the log spells it, `day` None in an undated table."""

    path: str
    size: int
    day: date | None

    @property
    def partition(self) -> dict[str, str | None]:
        """The partition values of the file's actions."""
        return {} if self.day is None else partition_values(self.day)


@dataclass(frozen=True, slots=True)
class Compaction:
    """The result: `files` were (in a dry run, would be) rewritten into `into`; `lost` sets were changed by others."""

    files: int = 0
    into: int = 0
    lost: int = 0

    def __add__(self, other: Compaction) -> Compaction:
        return Compaction(self.files + other.files, self.into + other.into, self.lost + other.lost)


def compact(lake: Lake, table: str, *, min_files: int, dry_run: bool = False) -> Compaction:
    """Rewrites each date with at least `min_files` small files; one commit a date, which changes no row.

    Rows, their order within a date, app transactions and statistics stay; the commits say `dataChange: false`. A date
    that another writer replaces meanwhile is left to the next time.

    Raises:
        StorageError: Files that cannot be read, written or committed; the table is unchanged.
        TableContractError: The table breaks the contract, or has columns whose rows cannot be compared.
    """
    done = Compaction()
    for files in small_sets(lake.open(table), min_files):
        done += Compaction(len(files), 1) if dry_run else _compact_set(lake, table, files)
    return done


def compact_tiers(lake: Lake, table: str, *, width: int) -> Compaction:
    """Rewrites files of about one size, of one date or of an undated table, once there are `width` of them.

    Files that were rewritten are of a larger size, so each row is rewritten as often as the logarithm of their number,
    and what left the table is a small multiple of what is in it. A table with few files costs a look at its list.

    Raises:
        TallyError: As `compact`.
    """
    if len(lake.files(table)) < width:
        return Compaction()
    tiers: dict[tuple[date | None, int], list[LiveFile]] = {}
    for file in live_files(lake.open(table)):
        if file.size < TARGET_BYTES // 2:
            tiers.setdefault((file.day, (file.size // _LEAST_BYTES).bit_length() // 2), []).append(file)
    done = Compaction()
    for files in tiers.values():
        if len(files) >= width:
            done += _compact_set(lake, table, files)
    return done


def live_files(handle: DeltaTable) -> list[LiveFile]:
    """The files of a handle's version in the order in which they are read."""
    actions = add_actions(handle)
    rows = zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), periods_of_files(actions), strict=True)
    return sorted((LiveFile(*row) for row in rows), key=lambda file: file.path)


def small_sets(handle: DeltaTable, min_files: int) -> Iterator[list[LiveFile]]:
    """The sets of neighbouring small files that are to become one file each."""
    if tuple(handle.metadata().partition_columns) not in ((), *PARTITIONINGS):
        return
    by_day: dict[date | None, list[LiveFile]] = {}
    for file in live_files(handle):
        if file.size < TARGET_BYTES // 2:
            by_day.setdefault(file.day, []).append(file)
    for small in by_day.values():
        if len(small) >= min_files:
            yield from (files for files in _bins(small) if len(files) > 1)


def _bins(files: Iterable[LiveFile]) -> Iterator[list[LiveFile]]:
    waiting: list[LiveFile] = []
    for file in files:
        if waiting and sum(other.size for other in waiting) + file.size > TARGET_BYTES:
            yield waiting
            waiting = []
        waiting.append(file)
    yield waiting


def _compact_set(lake: Lake, table: str, files: list[LiveFile]) -> Compaction:
    handle, folder = lake.open(table), TableFolder(lake.uri(table), lake.options)
    partitions = handle.metadata().partition_columns
    schema = pa.schema([field for field in pa.schema(handle.schema().to_arrow()) if field.name not in partitions])
    parent = unquote(files[0].path).rpartition("/")[0]
    name = f"part-{uuid.uuid4()}.parquet"
    with storage_errors(f"compacting {lake.uri(table)}"):
        sources = [unquote(file.path) for file in files]
        made = rewrite(folder, sources, f"{parent}/{name}".lstrip("/"), schema, partitions)
    failpoint("compaction-staged")
    if _commit(lake, table, files, made):
        return Compaction(len(files), 1)
    log.info("%s: a date that was being compacted was changed meanwhile; it is left as it is", table)
    with storage_errors(f"compacting {lake.uri(table)}"):
        folder.discard(made.path)
    return Compaction(lost=1)


def _commit(lake: Lake, table: str, files: Sequence[LiveFile], made: Rewritten) -> bool:
    """Commits the new file for the old ones; False when one of them is gone, or every attempt was lost."""

    def attempt(handle: DeltaTable) -> bool:
        live = {file.path for file in live_files(handle)}
        if made.path in live:
            return True
        if not live.issuperset(file.path for file in files):
            return False
        try:
            _write(handle, files, made)
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            # The answer may be lost, not the commit; if the log cannot be read either, the file is left as an orphan.
            if made.path not in {file.path for file in live_files(lake.look(table))}:
                raise as_storage_error(f"compacting {lake.uri(table)}", error) from error
        return True

    race = Race(
        hold=lambda: lake.hold(table),
        failure=lambda error: as_storage_error(f"compacting {lake.uri(table)}", error),
        conflict=_BusyError,
        attempts=ATTEMPTS,
    )
    try:
        return compare_and_swap(race, attempt)
    except _BusyError:
        return False


def _write(handle: DeltaTable, files: Sequence[LiveFile], made: Rewritten) -> None:
    now = int(time.time() * 1000)
    partition = files[0].partition
    added = AddAction(
        path=made.path,
        size=made.file.size,
        partition_values=partition,
        modification_time=now,
        data_change=False,
        stats=made.statistics,
    )
    removed = [
        RemoveAction(
            path=file.path, data_change=False, deletion_timestamp=now, size=file.size, partition_values=partition
        )
        for file in files
    ]
    handle.create_write_transaction(
        [added, *removed],
        mode="append",
        schema=handle.schema(),
        partition_by=handle.metadata().partition_columns,
        commit_properties=CommitProperties(
            custom_metadata={
                "tallywright.maintenance": "compaction",
                FILES_KEY: files_json([made.file]),
                VERSION_KEY: str(handle.version() + 1),
                REPLACED_KEY: json.dumps([file.path for file in files]),
            },
            max_commit_retries=0,
        ),
    )
