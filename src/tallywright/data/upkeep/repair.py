"""Repairs a table by its log: files that our commits name come back where they are sound, others go.

What was made of nothing that is left cannot be repaired here: its rows are written again by the step that writes them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from tallywright.data.delta.commit import LostRaceError, Race, compare_and_swap
from tallywright.data.delta.files import delta_statistics
from tallywright.data.delta.footers import footer_at
from tallywright.data.delta.replacing import FILES_KEY, VERSION_KEY
from tallywright.data.storage.filesystem import as_storage_error, storage_errors
from tallywright.data.upkeep.compaction import live_files
from tallywright.data.upkeep.log_replay import STANDS_KEY
from tallywright.data.upkeep.table_check import TableCheck, day_of
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.errors import CommitConflictError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import CommittedFile


def rebuild_checkpoints(lake: Lake, table: str) -> bool:
    """Deletes the checkpoints of a table that cannot be read, and writes a new one of its commits.

    Returns:
        True when there was one.

    Raises:
        IntegrityError: The commits before it are not all there, so that only a backup helps.
        StorageError: Storage that cannot be written.
    """
    folder = TableFolder(lake.uri(table), lake.options)
    with storage_errors(f"repairing {lake.uri(table)}"):
        damaged = [path for path in folder.checkpoints() if not _is_readable(folder, path)]
        if not damaged:
            return False
        commits = folder.commits()
        if sorted(commits) != list(range(max(commits, default=-1) + 1)):
            raise IntegrityError(
                f"{table}: the checkpoint {damaged[0]} cannot be read, and the commits before it are not all there",
                expected="a commit for each version from 0 on",
                remedy="restore the checkpoint from a backup",
            )
        for path in damaged:
            folder.discard(path)
        folder.discard("_delta_log/_last_checkpoint")
        lake.open(table).create_checkpoint()
    return True


def restore(lake: Lake, table: str, *, accept: bool = False) -> bool:
    """Makes the sound files that our commits name the live ones again; with `accept`, what is live counts as ours.

    In a table of dates a date is restored only where all its files are sound; else its step must write it again.

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
            if not accept and wanted.keys() == live.keys():
                return False
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
    broken = {day_of(path) for path, file in sound.items() if file is None}
    kept = {path: file for path, file in live.items() if file is not None and day_of(path) in broken}
    return kept | {path: file for path, file in sound.items() if file is not None and day_of(path) not in broken}


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


def _commit(check: TableCheck, wanted: Mapping[str, CommittedFile], live: Mapping[str, object]) -> None:
    handle, now = check.handle, int(time.time() * 1000)
    partitions = handle.metadata().partition_columns
    schema = pa.schema([field for field in pa.schema(handle.schema().to_arrow()) if field.name not in partitions])
    logged = {file.path: file for file in live_files(handle)}

    def values(path: str) -> dict[str, str | None]:
        return {"score_date": str(day_of(path))} if partitions else {}

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
        if path not in live
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
        if path not in wanted
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


def _is_readable(folder: TableFolder, path: str) -> bool:
    try:
        pq.read_table(pa.BufferReader(folder.content(path)), page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return False
    return True
