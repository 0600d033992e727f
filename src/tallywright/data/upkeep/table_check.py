"""Checks one table: its log against what our commits say, each live file against its commit, each page by its checksum.

Only the files of the dates asked for are opened; the log is replayed as a whole.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tallywright.data.delta.damage import is_damage, words_for
from tallywright.data.delta.footers import footer_at
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.upkeep.compaction import live_files
from tallywright.data.upkeep.log_replay import LoggedCommit, Replay
from tallywright.data.upkeep.stated import misplaced, misstated, stated
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.score_period import period_of_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile
    from tallywright.data.delta.footers import Footer
    from tallywright.data.delta.lake import Lake
    from tallywright.records import CommittedFile

_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a table; `day` is the score date that it is about, where it is about one.

    `in_log` is true where the log says what is not so of a file that is sound: what it says can be made right.
    """

    text: str
    day: date | None = None
    in_log: bool = False


@dataclass(frozen=True)
class TableCheck:
    """A table's log and files, as they are compared.

    Attributes:
        lake: Where the table is.
        table: Its short name.
        handle: On its newest version.
        wanted: Says whether the files of a date (None: of no date) are to be read.
    """

    lake: Lake
    table: str
    handle: DeltaTable
    wanted: Callable[[date | None], bool]

    @property
    def folder(self) -> TableFolder:
        """The table's folder."""
        return TableFolder(self.lake.uri(self.table), self.lake.options)

    def problems(self) -> Iterator[Problem]:
        """Yields what is wrong, the log first.

        Raises:
            StorageError: Storage that cannot be reached.
        """
        with storage_errors(f"verifying {self.lake.uri(self.table)}"):
            replay = self.replay()
            yield from (Problem(text) for text in replay.problems)
            yield from self._numbered(replay)
            live = self.live()
            yield from self._listed(replay, live)
            says = self.stated()
            for path, file in live.items():
                if self.wanted(file.day) or self.wanted(period_of_path(path)):
                    yield from self._of_file(path, file, replay.expected.get(path), says)
            yield from self._rewritten(replay, live)

    def _of_file(
        self, path: str, file: DataFile, committed: CommittedFile | None, says: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Problem]:
        day = period_of_path(path) or file.day
        text, footer = self._damage(path, file, committed)
        if footer is None:
            yield Problem(f"the file {path}: {text}", day)
        elif text := misplaced(path, file) or misstated(says[path], footer.metadata):
            yield Problem(f"the file {path}: {text}", day, in_log=True)

    def live(self) -> dict[str, DataFile]:
        """The live files by their path in the table."""
        prefix = f"{self.lake.uri(self.table)}/"
        files = self.lake.files(self.table, version=self.handle)
        return {file.path.removeprefix(prefix): file for file in files}

    def stated(self) -> dict[str, dict[str, Any]]:
        """What the log says of the live files, by their path in the table."""
        return {unquote(path): action for path, action in stated(self.handle).items()}

    def misdescribed(self) -> set[str]:
        """The live files, among those that can be read, of which the log says what is not so."""
        says, found = self.stated(), set()
        for path, file in self.live().items():
            with suppress(OSError, pa.ArrowException):
                metadata = footer_at(self.folder.filesystem, path).metadata
                if misplaced(path, file) or misstated(says[path], metadata):
                    found.add(path)
        return found

    def replay(self) -> Replay:
        """The log as our commits tell it; what cannot be read is among its problems."""
        folder, replay = self.folder, Replay()
        commits = folder.commits()
        first = min(commits, default=0)
        if first > 0:  # the older log was cleaned up: a checkpoint stands for it
            first = folder.oldest_version()
            replay.expected |= dict.fromkeys(_paths(self.lake.open(self.table, first)))
            first += 1
        for version in range(first, self.handle.version() + 1):
            try:
                commit = LoggedCommit.of(version, folder.content(commits[version]).decode())
            except KeyError:
                replay.problems.append(f"version {version} of the log is missing")
            except ValueError as error:
                replay.problems.append(f"version {version} of the log cannot be read: {error}")
            else:
                replay.add(commit)
        return replay

    def _numbered(self, replay: Replay) -> Iterator[Problem]:
        """Commits of a date's content say in its app transaction which version they are."""
        for name, (version, told) in replay.transactions.items():
            if version != told and name.startswith(f"tallywright/{self.table}/"):
                problem = (
                    f"version {version} of the log, which wrote the rows of {name.rpartition('/')[2]}, says {told}"
                )
                yield Problem(problem, _day_of(name.rpartition("/")[2]))

    def _listed(self, replay: Replay, live: Mapping[str, DataFile]) -> Iterator[Problem]:
        for path in sorted(replay.expected.keys() | live.keys()):
            by = f" ({replay.foreign[path]})" if path in replay.foreign else ""
            if path not in live:
                yield Problem(
                    f"the file {path} was committed and is no longer part of the table{by}", period_of_path(path)
                )
            elif path not in replay.expected:
                yield Problem(f"the file {path} was added by another writer{by}", period_of_path(path))

    def _damage(self, path: str, file: DataFile, committed: CommittedFile | None) -> tuple[str, Footer | None]:
        """What is wrong with a live file, or its footer when nothing is. All its pages are read."""
        filesystem = self.folder.filesystem
        try:
            footer = footer_at(filesystem, path)
            if (footer.size, footer.metadata.num_rows) != (file.size, file.rows):
                return "it is not the file that the table's log names", None
            if committed is not None and (footer.size, footer.digest) != (committed.size, committed.footer):
                return "it is another file than was committed", None
            for _ in _batches(self.folder, path):
                pass
        except (OSError, pa.ArrowException) as error:
            if not is_damage(error):
                raise
            return words_for(error), None
        return "", footer

    def _rewritten(self, replay: Replay, live: Mapping[str, DataFile]) -> Iterator[Problem]:
        """Compares files that others made of ours with what they were made of, as long as that is still there."""
        for added, removed in replay.rewritten:
            if not added <= live.keys() or not all(self.wanted(live[path].day) for path in added):
                continue
            before, after = (self._digest(paths) for paths in (removed, added))
            if before is not None and after is not None and before != after:
                day = next((live[path].day for path in added), None)
                yield Problem(f"{', '.join(sorted(added))} does not hold the rows it was made of", day)

    def _digest(self, paths: Iterable[str]) -> RowDigest | None:
        names = [field.name for field in self.handle.schema().fields]
        skipped = set(self.handle.metadata().partition_columns)
        total = RowDigest()
        try:
            for path in paths:
                for batch in _batches(self.folder, path):
                    known = [name for name in names if name in batch.schema.names and name not in skipped]
                    total += digest(batch, known)
        except (OSError, pa.ArrowException):
            return None
        return total


def _day_of(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:  # an hour: its date alone would name others too
        return None


def _paths(handle: DeltaTable) -> list[str]:
    return [unquote(file.path) for file in live_files(handle)]


def _batches(folder: TableFolder, path: str) -> Iterator[pa.RecordBatch]:
    with (
        folder.filesystem.open_input_file(path) as stream,
        pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        yield from file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
