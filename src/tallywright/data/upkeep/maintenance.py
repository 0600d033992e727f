"""Maintenance of one table beside its readers and writers: OPTIMIZE, orphans, VACUUM, checkpoint.

What must stay readable is the caller's to say: he knows tallies and models, this module knows files and versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from deltalake.exceptions import CommitFailedError

from tallywright.data.delta.commit import Race, compare_and_swap
from tallywright.data.delta.handles import LOG_RETENTION, LONG_LOG, REMOVED_RETENTION
from tallywright.data.storage.filesystem import as_storage_error, storage_errors
from tallywright.data.upkeep.compaction import compact, live_files
from tallywright.data.upkeep.table_folder import StoredFile, TableFolder
from tallywright.errors import CommitConflictError
from tallywright.observability import log
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake

_LONG_LOG_COMMITS: Final = 20
_DEFAULT_LOG_DAYS: Final = 30
_ATTEMPTS: Final = 10
_SHOWN_RANGES: Final = 20


@dataclass(frozen=True, slots=True)
class TableRules:
    """The rules by which one table is maintained.

    Attributes:
        now: The wall clock by which files are old.
        retention: Files that left the table longer ago than this are deleted; longer than any reader or run lives.
        orphan_age: Files that no commit names and that are older than this are deleted; longer than any run lives.
        min_files: A date with at least this many small files is compacted.
        keep: Versions that must stay readable, and for what.
        long_log: True for a table whose old versions are asked for: its log is kept, without which none can be opened.
        dry_run: Say what would be done, change nothing.
    """

    now: datetime
    retention: timedelta
    orphan_age: timedelta
    min_files: int
    keep: Mapping[int, frozenset[str]]
    long_log: bool = False
    dry_run: bool = False


class TableReport(Record):
    """What maintenance did to a table (or would do).

    `kept` maps what refers to old versions to these versions, as ranges. `lost` are versions referred to that cannot
    be opened any more. `orphans` were deleted, `young_orphans` may yet be committed by a run that is going on.
    `lost_races` counts the dates that another writer changed while they were being compacted.
    """

    table: str
    files: int
    bytes: int
    compacted: int
    compacted_into: int
    lost_races: int
    deleted: int
    deleted_bytes: int
    kept: dict[str, str]
    lost: str
    orphans: int
    orphan_bytes: int
    young_orphans: int
    checkpoint: bool


def maintain_table(lake: Lake, table: str, rules: TableRules) -> TableReport:
    """Compacts, deletes orphans, vacuums and checkpoints a table; changes no row and no version that is kept.

    Raises:
        StorageError: Storage that fails; what was done stays done, the next run goes on.
        CommitConflictError: Others kept writing for too long.
        TableContractError: The table breaks the contract.
    """
    if not rules.dry_run:
        _set_properties(lake, table, rules)
    compaction = compact(lake, table, min_files=rules.min_files, dry_run=rules.dry_run)
    folder = TableFolder(lake.uri(table), lake.options)
    with storage_errors(f"maintaining {lake.uri(table)}"):
        stored = {file.path: file for file in folder.data_files()}
        orphans, young = _orphans(lake, table, folder, stored.values(), rules)
        if not rules.dry_run:
            orphans = folder.delete(orphans)
        oldest = folder.oldest_version()
    gone = {file.path for file in orphans}
    # on an object store VACUUM also takes the empty objects that stand for folders
    handle = lake.open(table)
    keep = {version: why for version, why in rules.keep.items() if oldest <= version <= handle.version()}
    vacuumed = vacuum(handle, rules.retention, sorted(keep), dry_run=rules.dry_run)
    deleted = [path for path in vacuumed if path in stored and path not in gone]
    live = live_files(handle)
    return TableReport(
        table=table,
        files=len(live),
        bytes=sum(file.size for file in live),
        compacted=compaction.files,
        compacted_into=compaction.into,
        lost_races=compaction.lost,
        deleted=len(deleted),
        deleted_bytes=sum(stored[path].size for path in deleted),
        kept=_kept(keep),
        lost=ranges(rules.keep.keys() - keep.keys()),
        orphans=len(orphans),
        orphan_bytes=sum(file.size for file in orphans),
        young_orphans=young,
        checkpoint=_checkpoint(lake, table, folder, dry_run=rules.dry_run),
    )


def ranges(versions: Iterable[int]) -> str:
    """Numbers as ranges, such as `3-5, 9`; the first ones when there are many."""
    found: list[list[int]] = []
    for version in sorted(set(versions)):
        if found and found[-1][1] == version - 1:
            found[-1][1] = version
        else:
            found.append([version, version])
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in found[:_SHOWN_RANGES]]
    return ", ".join([*shown, f"and {len(found) - _SHOWN_RANGES} more"] if len(found) > _SHOWN_RANGES else shown)


def _set_properties(lake: Lake, table: str, rules: TableRules) -> None:
    """Sets the table's retention of removed files, and of its log where old versions are read again.

    A checkpoint forgets removed files after `delta.deletedFileRetentionDuration` (a week unless it is set), and then
    VACUUM judges an old file that was removed a moment ago by its age alone.
    """

    def attempt(handle: DeltaTable) -> None:
        found = handle.metadata().configuration
        wanted = _properties(found, rules)
        if not found.items() >= wanted.items():
            handle.alter.set_table_properties(wanted)

    race = Race(
        hold=lambda: lake.hold(table),
        failure=lambda error: as_storage_error(f"changing {lake.uri(table)}", error),
        conflict=lambda: CommitConflictError(
            f"{lake.uri(table)}: {_ATTEMPTS} attempts to set its properties lost against other writers",
            remedy="run it again",
        ),
        attempts=_ATTEMPTS,
    )
    with storage_errors(f"changing {lake.uri(table)}"):
        compare_and_swap(race, attempt)


def _properties(found: Mapping[str, str | None], rules: TableRules) -> dict[str, str]:
    retention = f"interval {rules.retention.days} days"
    wanted = {REMOVED_RETENTION: retention}
    if rules.long_log:
        return wanted if LOG_RETENTION in found else wanted | LONG_LOG
    # Delta wants removed files to be forgotten before the log is: its default keeps the log for 30 days
    return wanted | {LOG_RETENTION: retention} if rules.retention.days > _DEFAULT_LOG_DAYS else wanted


def _orphans(
    lake: Lake, table: str, folder: TableFolder, stored: Iterable[StoredFile], rules: TableRules
) -> tuple[list[StoredFile], int]:
    """Files that no commit names: those old enough to be deleted, and the number of the younger ones.

    `stored` was listed before the table is opened here: what was committed in between is known, not an orphan.
    """
    known = {unquote(file.path) for file in live_files(lake.open(table))} | folder.named()
    unknown = [*(file for file in stored if file.path not in known), *folder.run_files()]
    old = [file for file in unknown if file.modified < rules.now - rules.orphan_age]
    return old, len(unknown) - len(old)


def vacuum(handle: DeltaTable, retention: timedelta, keep: list[int], *, dry_run: bool = False) -> list[str]:
    """Deletes the files that were removed before the retention and are part of no version that is kept; their paths.

    Raises:
        StorageError: Storage that fails.
    """
    with storage_errors(f"vacuuming {handle.table_uri}"):
        try:
            found = handle.vacuum(
                retention_hours=int(retention.total_seconds() // 3600),
                dry_run=dry_run,
                enforce_retention_duration=False,  # the rules' own bound is the longest run
                full=True,
                keep_versions=keep or None,
            )
        except CommitFailedError as error:
            before = handle.version()
            handle.update_incremental()
            if handle.version() == before:
                raise
            log.warning("%s: VACUUM lost to other writers, the next one goes on: %s", handle.table_uri, error)
            return []
    return [unquote(path) for path in found]


def _kept(keep: Mapping[int, frozenset[str]]) -> dict[str, str]:
    reasons = sorted({reason for why in keep.values() for reason in why})
    return {reason: ranges(version for version, why in keep.items() if reason in why) for reason in reasons}


def _checkpoint(lake: Lake, table: str, folder: TableFolder, *, dry_run: bool) -> bool:
    """Writes a checkpoint when many commits have come since the last one."""
    with storage_errors(f"writing a checkpoint of {lake.uri(table)}"):
        handle = lake.open(table)
        if handle.version() - folder.last_checkpoint() < _LONG_LOG_COMMITS:
            return False
        if not dry_run:
            handle.create_checkpoint()
    return True
