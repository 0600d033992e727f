"""The lake: Delta tables under one root, opened under the table contract and replaced slice by slice.

Every write is a compare-and-swap (`commit`); reads share one cached handle a table (`handles`).
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from tallywright.data.delta.commit import (
    ATTEMPTS,
    Change,
    LostRaceError,
    PendingChanges,
    Race,
    combined,
    compare_and_swap,
)
from tallywright.data.delta.files import DataFile, TableReader, list_tables, small_files
from tallywright.data.delta.handles import Handles
from tallywright.data.delta.log_damage import log_damage
from tallywright.data.fingerprint import digest
from tallywright.data.storage.filesystem import is_disk, storage_errors
from tallywright.data.storage.options import store_options
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import CommitConflictError, StorageError, TableContractError, UsageError
from tallywright.observability import log
from tallywright.score_period import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    import pyarrow as pa

    from tallywright.data.delta.rows import Filter, Value
    from tallywright.spec import Environment

__all__ = ["Change", "DataFile", "Lake"]

Version = int | DeltaTable
MANY_FILES: Final = 32
"""Files of about one size that a small table may have before they become one."""
_COUNTED_EVERY: Final = 8


class Lake:
    """The Delta tables of one environment."""

    def __init__(self, root: str, options: Mapping[str, str] | None = None, *, read_only: bool = False) -> None:
        self.root = root.rstrip("/")
        self.read_only = read_only
        self.options = store_options(self.root, options or {})
        self._handles = Handles(self.options)
        self._readers: dict[str, TableReader] = {}
        self.pending: PendingChanges | None = None
        self.keep_small: Callable[[Lake, str], None] | None = None
        """Called with a table without partitions that a write has left with many files."""

    @classmethod
    def of(cls, environment: Environment) -> Lake:
        """The lake of an environment; the only place where its storage secrets are revealed."""
        storage = environment.storage
        options = {name: value.get_secret_value() for name, value in storage.options.items()}
        return cls(storage.lake, options, read_only=environment.is_other_side)

    def in_production(self, environment: Environment) -> Lake:
        """This lake of an environment; of one that only trains, production's, where champion and rows are read."""
        place = environment.in_production
        return self if place is environment else Lake.of(place)

    def uri(self, table: str) -> str:
        """The address of a table, existing or not."""
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """True when there is a Delta table of that name."""
        uri = self.uri(table)
        with storage_errors(f"looking for {uri}"):
            return self._handles.is_known(uri) or DeltaTable.is_deltatable(uri, self.options or None)

    def tables(self) -> list[str]:
        """The names of all Delta tables in the lake, sorted; none when the lake does not exist yet."""
        with storage_errors(f"listing {self.root}"):
            return list_tables(self.root, self.options)

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """A handle of the caller's own on the newest (or the given) version.

        Raises:
            StorageError: No such table or version, or unreadable storage.
            TableContractError: The table has features that not every engine understands.
        """
        with self._opening(table, version):
            return self._handles.opened(self.uri(table), version)

    def look(self, table: str, version: Version | None = None) -> DeltaTable:
        """The lake's cached handle on the newest (or the given) version.

        Raises:
            TallyError: As `open`.
        """
        if isinstance(version, DeltaTable):
            return version
        uri = self.uri(table)
        with self._opening(table, version):
            if version is None:
                return self._handles.newest(uri)
            return self._handles.at(uri, version)

    @contextmanager
    def hold(self, table: str, *, create: Change | None = None) -> Iterator[DeltaTable]:
        """Lends a handle on the newest version for a commit: inside the block it is the caller's alone.

        Args:
            table: Short name.
            create: Makes the table where it is missing.

        Raises:
            TallyError: As `open`.
        """
        self._require_own(table)
        if create is not None and self.find(table) is None:
            self.create(create)
        uri = self.uri(table)
        with self._opening(table, None):
            handle = self._handles.take(uri)
        try:
            yield handle
        finally:
            self._handles.give_back(uri, handle)

    def _require_own(self, table: str) -> None:
        """Refuses to write to the lake of the other side.

        Raises:
            UsageError: It is the other side's.
        """
        if self.read_only:
            raise UsageError(
                f"{self.uri(table)} is in the lake of the other environment, which is only read from here",
                expected="a write to this environment's own lake",
                remedy="run the command in that environment: --env NAME, or TALLYWRIGHT_ENV",
            )

    def find(self, table: str) -> DeltaTable | None:
        """As `look`; None when there is no Delta table of that name.

        Raises:
            TallyError: As `open`, for a table that is there.
        """
        uri = self.uri(table)
        with self._opening(table, None):
            if is_disk(uri) and not Path(uri, "_delta_log").is_dir():
                return None
            try:
                return self._handles.newest(uri)
            except TableNotFoundError:
                # It may have been created meanwhile; delta-rs raises the same for a table that may not be read.
                return self._handles.newest(uri) if self.exists(table) else None

    @contextmanager
    def _opening(self, table: str, version: int | None) -> Iterator[None]:
        uri = self.uri(table)
        try:
            with storage_errors(f"opening {uri}" + ("" if version is None else f" version {version}")):
                yield
        except (StorageError, TableContractError) as error:
            damage = log_damage(uri, self.options, whole=isinstance(error, StorageError))
            if damage is not None:
                raise damage from error
            raise

    def files(self, table: str, *, day: date | None = None, version: Version | None = None) -> list[DataFile]:
        """The current data files, of one period or of all, sorted by path.

        Raises:
            TableContractError: A period is asked of a table that is not partitioned by it.
        """
        handle = self.look(table, version)
        partitions = handle.metadata().partition_columns
        if day is not None and not set(columns_of({"score_date": day})) <= set(partitions):
            raise TableContractError(f"{self.uri(table)} is not partitioned by the period of {day}")
        with storage_errors(f"listing the files of {self.uri(table)}"):
            return self._reader(table, handle).files({} if day is None else {"score_date": day})

    def read(
        self,
        table: str,
        *,
        where: Filter | None = None,
        columns: Sequence[str] | None = None,
        version: Version | None = None,
    ) -> pa.Table:
        """Rows of a small table, or of one date of a large one, in the order of the files.

        Args:
            table: Short name.
            where: Column values that the rows must have; files that cannot match are not opened.
            columns: Names in the order wanted; all columns of the table when not given.
            version: Delta version, or a handle on it; the newest when not given.

        Raises:
            StorageError: No such table; ask `exists` first.
            TableContractError: A column that the table does not have.
        """
        handle = self.look(table, version)
        with storage_errors(f"reading {self.uri(table)}"):
            return self._reader(table, handle).read(where or {}, columns)

    def _reader(self, table: str, handle: DeltaTable) -> TableReader:
        """The table's last reader where it is of this handle: listing the files of a year takes milliseconds."""
        known = self._readers.get(table)
        if known is None or not known.is_of(handle):
            known = self._readers[table] = TableReader(handle, self.uri(table), self.options)
        return known

    def replace(
        self,
        table: str,
        data: pa.Table,
        *,
        slice: Mapping[str, Value],  # noqa: A002 - the domain's word
        partition_by: Sequence[str] = (),
        message: Mapping[str, str] | None = None,
    ) -> int:
        """Replaces exactly the rows of the slice by `data`, in one commit, whoever else is writing.

        Creates the table when it is missing, and adds new columns (null in the older rows). The last writer of one
        slice wins; a caller who must not overwrite another's row uses `commit` with the handle he decided on.

        Returns:
            The version of the commit.

        Raises:
            TableContractError: Rows outside the slice, a column of another type than the table's, naive timestamps.
            CommitConflictError: Others kept writing for too long.
            StorageError: Storage that is read-only, full or gone.
        """
        version = self.write(Change(table, data, slice, partition_by, message or {}))
        assert version is not None  # noqa: S101 - a change that nothing can outdate
        return version

    def is_held(self, change: Change) -> bool:
        """True when the table holds exactly the change's rows already, in whatever order."""
        names = change.data.schema.names
        standing = self.find(change.table)
        if standing is None or not set(names) <= {field.name for field in standing.schema().fields}:
            return False
        held = self.read(change.table, where=change.slice, columns=names)
        return digest(held, names) == digest(change.data, names)

    @contextmanager
    def batching(self) -> Iterator[None]:
        """Keeps writes to declared tables pending inside the block, until `flush` or its end writes them together."""
        if self.pending is not None:
            yield
            return
        self.pending = PendingChanges()
        try:
            yield
        finally:
            try:
                self.flush()
            finally:
                self.pending = None

    def pending_of(self, table: str) -> list[Change]:
        """The pending changes of a table; none outside of `batching`."""
        return [] if self.pending is None else self.pending.of(table)

    def flush(self) -> None:
        """Writes the pending changes, one commit a table.

        Raises:
            TallyError: As `replace`.
        """
        if self.pending is not None:
            for changes in self.pending.take():
                self.write(*changes)
                self.written(changes[0].table)

    def forget(self) -> None:
        """Drops the cached handles, lists of files and rows of small files; what is used next is read again.

        A handle grows with each commit on it, so a long range opens its tables anew now and then.
        """
        self._handles.forget()
        self._readers.clear()
        small_files.clear()

    def write(self, *changes: Change) -> int | None:
        """Commits changes of one table together, whoever else is writing; those that are outdated by then are left out.

        Returns:
            The version of the commit; None when every change was outdated.
        """
        return compare_and_swap(self.race(changes[0]), lambda base: self._attempt_current(changes, base))

    def _attempt_current(self, changes: Sequence[Change], base: DeltaTable) -> int | None:
        """Commits those of the changes that are not outdated."""
        reasons = [change.why_outdated(base) for change in changes]
        for reason in filter(None, reasons):
            log.info("not written to %s: %s", changes[0].table, reason)
        current = [change for change, reason in zip(changes, reasons, strict=True) if not reason]
        return self.attempt(combined(current), base) if current else None

    def written(self, table: str) -> None:
        """Has a small table kept small after a write: every so many commits its files are counted."""
        if self.keep_small is None:
            return
        handle = self.look(table)
        if handle.version() % _COUNTED_EVERY or handle.metadata().partition_columns:
            return
        if len(self.files(table)) >= MANY_FILES:
            self.keep_small(self, table)

    def handle(self, change: Change) -> DeltaTable:
        """The cached handle of the change's table, which is created (empty) when it is missing."""
        if self.find(change.table) is None:
            self.create(change)
        return self.look(change.table)

    def race(self, change: Change) -> Race:
        """The race to commit to the change's table, which is created when it is missing."""
        return Race(
            hold=lambda: self.hold(change.table, create=change),
            failure=lambda error: self._failed(change, error),
            conflict=lambda: CommitConflictError(
                f"{self.uri(change.table)}: {ATTEMPTS} attempts lost against other writers",
                remedy="run the same command again",
            ),
        )

    def commit(self, change: Change, base: DeltaTable) -> int:
        """Commits the change on top of exactly the version of `base`.

        Returns:
            The version of the commit; it is also the version of the change's app transaction.

        Raises:
            CommitConflictError: The table has moved on since `base` was opened; nothing was written.
            StorageError: Storage that cannot be written.
        """
        version = base.version() + 1
        try:
            return self.attempt(change, base)
        except LostRaceError as error:
            if self.look(change.table).version() < version:
                raise self._failed(change, error) from error
            raise CommitConflictError(
                f"{self.uri(change.table)}: another writer made version {version}", remedy="run the same command again"
            ) from error

    def attempt(self, change: Change, base: DeltaTable) -> int:
        """As `commit`, for an attempt of `compare_and_swap`.

        Raises:
            LostRaceError: The commit failed; nothing was written.
        """
        self._require_own(change.table)
        return change.write(base, self.uri(change.table), self.options)

    def create(self, change: Change) -> None:
        """Creates the change's table without rows, unless another writer has created it.

        Raises:
            StorageError: Storage that cannot be written.
        """
        self._require_own(change.table)
        uri = self.uri(change.table)
        with storage_errors(f"creating {uri}"):
            try:
                change.create_table(uri, self.options)
            except (TableNotFoundError, DeltaError):
                # Another writer may have created it meanwhile.
                if not self.exists(change.table):
                    raise

    def _failed(self, change: Change, error: Exception) -> StorageError:
        """The error for a commit that failed although nobody else committed: the storage's, not a conflict."""
        return StorageError(
            f"writing {self.uri(change.table)}: {cause_of(error)}",
            expected="storage that can be written",
            remedy="check permissions and free space, then run the same command again",
        )
