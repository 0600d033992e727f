"""The lake: Delta tables under one root, opened under the table contract and replaced slice by slice.

A write is a strict compare-and-swap: delta-rs must not retry on its own, because its retries accept stale overwrites.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from tallywright.data.delta.files import DataFile, TableReader, list_tables
from tallywright.data.delta.protocol import TABLE_PROPERTIES, check_table_contract
from tallywright.data.delta.schema import fitted, plain
from tallywright.data.delta.slices import Value, predicate
from tallywright.data.fingerprint import digest
from tallywright.data.storage.errors import storage_errors
from tallywright.data.storage.options import store_options
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import CommitConflictError, StorageError, TableContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from tallywright.spec import Environment

__all__ = ["Change", "DataFile", "Lake"]

_ATTEMPTS: Final = 30
_ROW_GROUP: Final = 262_144
"""Scoring hands out row groups: smaller ones than the default million keep every core busy, and memory low."""


@dataclass(frozen=True, slots=True)
class Change:
    """The new content of one slice of one table.

    Attributes:
        data: All rows of the slice; may be empty.
        slice: Column values that every row has; exactly the rows with these values are replaced.
        partition_by: Used when the table has to be created.
        message: Commit metadata; values are texts.
        transaction: An app transaction whose version becomes the Delta version of this commit.
        properties: Table properties, used when the table has to be created.
    """

    table: str
    data: pa.Table
    slice: Mapping[str, Value]
    partition_by: Sequence[str] = ()
    message: Mapping[str, str] = field(default_factory=dict)
    transaction: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


class Lake:
    """All tables of one environment."""

    def __init__(self, root: str, options: Mapping[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self.options = store_options(self.root, options or {})

    @classmethod
    def of(cls, environment: Environment) -> Lake:
        """The lake of an environment; the only place where its storage secrets are revealed."""
        storage = environment.storage
        return cls(storage.lake, {name: value.get_secret_value() for name, value in storage.options.items()})

    def uri(self, table: str) -> str:
        """The address of a table, existing or not."""
        return f"{self.root}/{table}"

    def exists(self, table: str) -> bool:
        """True when there is a Delta table of that name."""
        with storage_errors(f"looking for {self.uri(table)}"):
            return DeltaTable.is_deltatable(self.uri(table), self.options or None)

    def tables(self) -> list[str]:
        """The names of all Delta tables in the lake, sorted; none when the lake does not exist yet."""
        with storage_errors(f"listing {self.root}"):
            return list_tables(self.root, self.options)

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """A handle on the newest (or the given) version.

        Raises:
            StorageError: No such table or version, or unreadable storage.
            TableContractError: The table has features that not every engine understands.
        """
        with storage_errors(f"opening {self.uri(table)}" + ("" if version is None else f" version {version}")):
            handle = DeltaTable(self.uri(table), version=version, storage_options=self.options or None)
            check_table_contract(handle)
        return handle

    def files(self, table: str, *, day: date | None = None, version: int | None = None) -> list[DataFile]:
        """The current data files, of one date or of all, sorted by path.

        Raises:
            TableContractError: A day is asked of a table that is not partitioned by `score_date`.
        """
        handle = self.open(table, version)
        if day is not None and "score_date" not in handle.metadata().partition_columns:
            raise TableContractError(f"{self.uri(table)} is not partitioned by score_date")
        with storage_errors(f"listing the files of {self.uri(table)}"):
            reader = TableReader(handle, self.uri(table), self.options)
            return reader.files({} if day is None else {"score_date": day})

    def read(
        self,
        table: str,
        *,
        where: Mapping[str, Value] | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a small table, or of one date of a large one, in the order of the files.

        Args:
            table: Short name.
            where: Column values that the rows must have; files that cannot match are not opened.
            columns: Names in the order wanted; all columns of the table when not given.
            version: Delta version; the newest when not given.

        Raises:
            StorageError: No such table; ask `exists` first.
            TableContractError: A column that the table does not have.
        """
        handle = self.open(table, version)
        with storage_errors(f"reading {self.uri(table)}"):
            return TableReader(handle, self.uri(table), self.options).read(where or {}, columns)

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
        change = Change(table, data, slice, partition_by, message or {})
        for attempt in range(_ATTEMPTS):
            try:
                return self.commit(change, self.handle(change))
            except CommitConflictError:
                pause(attempt)
        raise CommitConflictError(
            f"{self.uri(table)}: {_ATTEMPTS} attempts lost against other writers", remedy="run the same command again"
        )

    def replace_if_changed(self, table: str, data: pa.Table, *, slice: Mapping[str, Value]) -> int | None:  # noqa: A002
        """Like `replace`, but commits nothing when the slice holds exactly these rows already, in whatever order.

        Returns:
            The version of the commit; None when there was nothing to do.

        Raises:
            TallyError: As `replace`.
        """
        names = data.schema.names
        if self.exists(table) and set(names) <= {field.name for field in self.open(table).schema().fields}:
            held = self.read(table, where=slice, columns=names)
            if digest(held, names) == digest(data, names):
                return None
        return self.replace(table, data, slice=slice)

    def handle(self, change: Change) -> DeltaTable:
        """A fresh handle on the change's table, which is created (empty) when it is missing."""
        if not self.exists(change.table):
            self._create(change)
        return self.open(change.table)

    def commit(self, change: Change, base: DeltaTable) -> int:
        """Commits the change on top of exactly the version of `base`.

        Returns:
            The version of the commit; it is also the version of the change's app transaction.

        Raises:
            CommitConflictError: The table has moved on since `base` was opened; nothing was written.
        """
        version = base.version() + 1
        schema = pa.schema(base.schema().to_arrow())
        data = fitted(plain(change.data), schema, change.slice, self.uri(change.table))
        transactions = [Transaction(change.transaction, version)] if change.transaction else None
        with storage_errors(f"writing {self.uri(change.table)}"):
            try:
                write_deltalake(
                    base,
                    data,
                    mode="overwrite",
                    predicate=predicate(change.slice),
                    schema_mode="merge",
                    writer_properties=WriterProperties(max_row_group_size=_ROW_GROUP),
                    commit_properties=CommitProperties(
                        custom_metadata=dict(change.message) or None,
                        max_commit_retries=0,
                        app_transactions=transactions,
                    ),
                )
            except CommitFailedError as error:
                raise self._conflict(change, version, error) from error
        return version

    def _conflict(self, change: Change, version: int, error: CommitFailedError) -> Exception:
        """A commit that fails although nobody else committed is a failure of the storage, not a conflict."""
        if self.open(change.table).version() >= version:
            return CommitConflictError(
                f"{self.uri(change.table)}: another writer made version {version}", remedy="run the same command again"
            )
        return StorageError(
            f"writing {self.uri(change.table)}: {cause_of(error)}",
            expected="storage that can be written",
            remedy="check permissions and free space, then run the same command again",
        )

    def _create(self, change: Change) -> None:
        schema = plain(change.data).schema
        with storage_errors(f"creating {self.uri(change.table)}"):
            try:
                DeltaTable.create(
                    self.uri(change.table),
                    DeltaSchema.from_arrow(pa.schema([column.with_nullable(nullable=True) for column in schema])),
                    mode="error",
                    partition_by=list(change.partition_by) or None,
                    configuration={**TABLE_PROPERTIES, **change.properties},
                    storage_options=self.options or None,
                    # Retried, a creation that lost a race would stand in the log again, with another table id.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except (TableNotFoundError, DeltaError):
                # Somebody else may have created it between the question and the answer.
                if not self.exists(change.table):
                    raise


def pause(attempt: int) -> None:
    """Waits a short random time, longer with each attempt, so that two writers do not meet again."""
    time.sleep(random.uniform(0.5, 1.5) * min(0.5, 0.005 * 1.4**attempt))
