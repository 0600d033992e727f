"""Repairs a table by its log: files that our commits name come back where they are sound, others go.

What was made of nothing that is left cannot be repaired here: its rows are written again by the step that writes them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from tallywright.data.delta.commit import LostRaceError, Race, compare_and_swap
from tallywright.data.delta.files import delta_statistics
from tallywright.data.delta.footers import footer_at
from tallywright.data.delta.log_damage import (
    LAST_CHECKPOINT,
    damaged_files,
    gone_from_log,
    is_readable,
    missing_commit,
)
from tallywright.data.delta.replacing import FILES_KEY, VERSION_KEY
from tallywright.data.storage.filesystem import as_storage_error, storage_errors
from tallywright.data.upkeep.compaction import live_files
from tallywright.data.upkeep.log_replay import STANDS_KEY
from tallywright.data.upkeep.table_check import TableCheck
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.errors import CommitConflictError, IntegrityError
from tallywright.score_period import partition_values, period_of_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import CommittedFile


_HINT: Final = f"_delta_log/{LAST_CHECKPOINT}"


def rebuild_log(lake: Lake, table: str) -> bool:
    """Makes a log readable again: damaged checkpoints are written anew, a damaged newest commit is taken away.

    So is a `_last_checkpoint` that names none: without it readers look for the newest checkpoint themselves.

    What the newest commit wrote is gone with it; the step that wrote it does so again.

    Returns:
        True when something was damaged.

    Raises:
        IntegrityError: Only a backup helps: an older commit is damaged or gone, or one that a checkpoint stood for is.
        StorageError: Storage that cannot be written.
    """
    folder = TableFolder(lake.uri(table), lake.options)
    with storage_errors(f"repairing {lake.uri(table)}"):
        hinted = folder.hints_at_nothing()
        if hinted:
            folder.discard(_HINT)
        commits = folder.commits()
        missing = missing_commit(path.rpartition("/")[2] for path in [*commits.values(), *folder.checkpoints()])
        if missing is not None:
            raise gone_from_log(table, missing)
        newest = max(commits, default=-1)
        torn = [path for path in commits.values() if not is_readable(path, folder.content(path))]
        damaged = [path for path in folder.checkpoints() if not is_readable(path, folder.content(path))]
        if not torn and not damaged and not _opens(lake, table):
            names = damaged_files({path.rpartition("/")[2]: folder.content(path) for path in commits.values()})
            torn = [path for path in commits.values() if path.rpartition("/")[2] in names]
        whole = sorted(commits) == list(range(newest + 1))
        # A checkpoint that has the newest commit goes with it: a later writer would be told that its version is taken.
        covering = [path for path in folder.checkpoints() if torn and path.rpartition("/")[2] >= f"{newest:020d}"]
        gone = [*damaged, *covering]
        if (gone and not whole) or (torn and (torn != [commits[newest]] or table.endswith("__promotions"))):
            raise IntegrityError(
                f"{table}: the file {[*torn, *damaged][0]} cannot be read, and nothing else has what it holds",
                expected="commits and checkpoints as they were written",
                remedy="restore the table's folder from a backup",
            )
        for path in [*torn, *gone]:
            folder.discard(path)
        if gone:
            folder.discard(_HINT)
            lake.open(table).create_checkpoint()
    return bool(torn or damaged or hinted)


def _opens(lake: Lake, table: str) -> bool:
    try:
        lake.open(table)
    except IntegrityError:
        return False
    return True


def restore(lake: Lake, table: str, *, accept: bool = False, whole: bool = False) -> bool:
    """Makes the sound files that our commits name the live ones again; with `accept`, what is live counts as ours.

    In a table of dates a date is restored only where all its files are sound; else its step must write it again. With
    `whole` the same holds for the table, whose rows can be made of nothing else.

    Returns:
        True when a commit was needed.

    Raises:
        TallyError: Storage that fails, or other writers that never rest.
    """

    def attempt(handle: DeltaTable) -> bool:
        check = TableCheck(lake, table, handle, lambda _: True)
        with storage_errors(f"repairing {lake.uri(table)}"):
            live = {path: _described(check, path) for path in check.live()}
            wanted = {path: file for path, file in live.items() if file} if accept else _wanted(check, live)
            wrong = {path for path in check.misdescribed() if live[path] is not None}
            if not accept and wanted.keys() == live.keys() and not wrong:
                return False
            if whole and not accept and not wanted.keys() >= check.replay().expected.keys():
                raise IntegrityError(
                    f"{table}: files are damaged or gone, and nothing else has their rows",
                    remedy="restore the table's folder from a backup",
                )
            if wrong:  # no commit can remove a file and add it again, so that takes two
                _commit(check, wanted, live, without=wrong)
                live = {path: file for path, file in live.items() if path not in wrong}
            _commit(check, wanted, live)
        return True

    race = Race(
        hold=lambda: lake.hold(table),
        failure=lambda error: as_storage_error(f"repairing {lake.uri(table)}", error),
        conflict=lambda: CommitConflictError(f"{lake.uri(table)} kept changing", remedy="run it again"),
    )
    return compare_and_swap(race, attempt)


def _wanted(check: TableCheck, live: Mapping[str, CommittedFile | None]) -> dict[str, CommittedFile]:
    """The files that should be live, as far as they are sound."""
    expected = check.replay().expected
    sound = {path: _sound(check, path, file) for path, file in expected.items()}
    if not check.handle.metadata().partition_columns:
        return {path: file for path, file in sound.items() if file is not None}
    # A date whose files are not all sound stays as it is: half of its rows would look like a date.
    broken = {period_of_path(path) for path, file in sound.items() if file is None}
    kept = {path: file for path, file in live.items() if file is not None and period_of_path(path) in broken}
    return kept | {
        path: file for path, file in sound.items() if file is not None and period_of_path(path) not in broken
    }


def _sound(check: TableCheck, path: str, committed: CommittedFile | None) -> CommittedFile | None:
    found = _described(check, path)
    if found is None or committed is None:
        return found
    return committed if (found.size, found.footer) == (committed.size, committed.footer) else None


def _described(check: TableCheck, path: str) -> CommittedFile | None:
    """The file as it is, all its pages read; None where it is damaged or gone."""
    try:
        footer = footer_at(check.folder.filesystem, path)
        with (
            check.folder.filesystem.open_input_file(path) as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as file,
        ):
            for _ in file.iter_batches(use_threads=False):
                pass
    except (OSError, pa.ArrowException):
        return None
    return footer.committed(path, checksums=False)


def _commit(
    check: TableCheck,
    wanted: Mapping[str, CommittedFile],
    live: Mapping[str, object],
    *,
    without: Collection[str] = (),
) -> None:
    """Makes the wanted files the live ones, but for those that a second commit is to add again."""
    handle, now = check.handle, int(time.time() * 1000)
    partitions = handle.metadata().partition_columns
    schema = pa.schema([field for field in pa.schema(handle.schema().to_arrow()) if field.name not in partitions])
    logged = {file.path: file for file in live_files(handle)}

    def values(path: str) -> dict[str, str | None]:
        period = period_of_path(path)
        return partition_values(period) if partitions and period is not None else {}

    added = [
        AddAction(
            path=path,
            size=file.size,
            partition_values=values(path),
            modification_time=now,
            data_change=True,
            stats=delta_statistics(footer_at(check.folder.filesystem, path).metadata, schema),
        )
        for path, file in wanted.items()
        if path not in live and path not in without
    ]
    removed = [
        RemoveAction(
            path=path,
            data_change=True,
            deletion_timestamp=now,
            size=file.size,
            partition_values=values(path),
        )
        for path, file in logged.items()
        if path not in wanted or path in without
    ]
    files = [file.model_dump() for file in wanted.values()]
    try:
        handle.create_write_transaction(
            [*added, *removed],
            mode="append",
            schema=handle.schema(),
            partition_by=partitions,
            commit_properties=CommitProperties(
                custom_metadata={
                    FILES_KEY: json.dumps(files),
                    STANDS_KEY: "1",
                    VERSION_KEY: str(handle.version() + 1),
                },
                max_commit_retries=0,
            ),
        )
    except CommitFailedError as error:
        raise LostRaceError(str(error)) from error
    handle.update_incremental()
