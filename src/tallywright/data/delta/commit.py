"""Compare-and-swap commits to Delta tables, and the changes that are committed.

An attempt decides on the newest version and commits once on top of it; when another writer was faster, it decides
again. delta-rs must not retry on its own, because its retries accept stale overwrites: every commit inside an attempt
is made with `max_commit_retries=0`, on the very handle that was decided on.

In a range of days, changes of small tables may be pending here until one commit writes them together: only what can
be computed again is pending, so a process that dies loses rows that its next run writes.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from tallywright.data.delta.handles import TABLE_PROPERTIES
from tallywright.data.delta.replacing import VERSION_KEY, WRITER_KEY, Replacement
from tallywright.data.delta.rows import Filter, Value, predicate
from tallywright.data.delta.schema import fitted, long_texts, plain
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.storage.store_errors import cause_of
from tallywright.observability import failpoint, log
from tallywright.score_period import DATE_COLUMN, Hour, columns_of, date_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

_NO_STATISTICS: Final = ColumnProperties(statistics_enabled="NONE")
ATTEMPTS: Final = 60
"""Commits to other days cost an attempt too: enough for a wide backfill."""
T = TypeVar("T")
Slice = tuple[tuple[str, Any], ...]


class LostRaceError(Exception):
    """A commit failed and wrote nothing; the text is the error of delta-rs (or of the engine that wrote)."""


class SkippedError(LostRaceError):
    """The writer skipped the commit because its app transaction is recorded already: another writer's stands."""


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
        description: Of the table, used when it has to be created.
        also: More slices that are replaced in the same commit; every row is in one of them.
        added: True when the version that is committed on has no row of these slices: no file is read or rewritten.
        outdated: Asked in every attempt: says why the change is about something that no longer stands, so that it does
            not happen; an empty text lets it happen.
        numbered: A column that gets the version of the commit, which orders what was written.
        point: The failpoint right before the commit.
    """

    table: str
    data: pa.Table
    slice: Mapping[str, Value]
    partition_by: Sequence[str] = ()
    message: Mapping[str, str] = field(default_factory=dict)
    transaction: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    also: tuple[Mapping[str, Value], ...] = ()
    added: bool = False
    outdated: Callable[[DeltaTable], str] | None = None
    numbered: str = ""
    point: str = ""

    def why_outdated(self, base: DeltaTable) -> str:
        """The reason why the change must not be made on top of `base`; empty when it may."""
        return "" if self.outdated is None else self.outdated(base)

    def write(self, base: DeltaTable, uri: str, options: Mapping[str, str]) -> int:
        """Commits the change on top of the version of `base`, which moves to the new version.

        Raises:
            LostRaceError: The commit failed; nothing was written.
            StorageError: Storage that cannot be written.
            TableContractError: Rows that do not fit the table or the slice.
        """
        version, slices = base.version() + 1, [columns_of(where) for where in (self.slice, *self.also)]
        data = fitted(plain(self.with_numbers(version)), pa.schema(base.schema().to_arrow()), slices, uri)
        replacement = Replacement(data, slices, self.message, self.transaction, added=self.added)
        if self.point:
            failpoint(self.point)
        with storage_errors(f"writing {uri}"):
            try:
                if replacement.fits(base):
                    replacement.commit(base, uri, options)
                else:
                    self._widen(base, data, slices)
            except CommitFailedError as error:
                raise LostRaceError(cause_of(error)) from error
        return version

    def _widen(self, base: DeltaTable, data: pa.Table, slices: Sequence[Mapping[str, Value]]) -> None:
        """Commits rows with new columns, or to other partitions than a score date, by Delta's own writer."""
        version = base.version() + 1
        writer = WriterProperties(column_properties=dict.fromkeys(long_texts(data), _NO_STATISTICS) or None)
        commit = CommitProperties(
            custom_metadata={**self.message, WRITER_KEY: "delta-rs", VERSION_KEY: str(version)},
            max_commit_retries=0,
            app_transactions=[Transaction(self.transaction, version)] if self.transaction else None,
        )
        how: dict[str, Any] = {"schema_mode": "merge", "writer_properties": writer, "commit_properties": commit}
        if self.added:
            write_deltalake(base, data, mode="append", **how)
        else:
            replaced = " OR ".join(f"({predicate(where)})" for where in slices)
            write_deltalake(base, data, mode="overwrite", predicate=replaced, **how)

    def with_numbers(self, version: int) -> pa.Table:
        """The rows with that number in the numbered column, if there is one."""
        if not self.numbered:
            return self.data
        place = self.data.schema.get_field_index(self.numbered)
        numbers = pa.array([version] * self.data.num_rows, pa.int64())
        return self.data.set_column(place, self.numbered, numbers)

    def create_table(self, uri: str, options: Mapping[str, str]) -> None:
        """Creates the table without rows.

        Raises:
            Exception: What delta-rs raises, also when somebody else was faster.
        """
        schema = plain(self.data).schema
        DeltaTable.create(
            uri,
            DeltaSchema.from_arrow(pa.schema([column.with_nullable(nullable=True) for column in schema])),
            mode="error",
            partition_by=list(self.partition_by) or None,
            configuration={**TABLE_PROPERTIES, **self.properties},
            description=self.description or None,
            storage_options=dict(options) or None,
            # Retried, a creation that lost a race would stand in the log again, with another table id.
            commit_properties=CommitProperties(max_commit_retries=0),
        )


@dataclass(frozen=True, slots=True)
class Race:
    """How attempts to commit to one table are made, and which errors their failures become.

    Attributes:
        hold: Gives a handle on the newest version for one attempt alone; may create the table where it is missing.
        failure: The error for a commit that failed although nobody else committed.
        conflict: The error for a race that was lost each time.
        attempts: How often it is tried.
    """

    hold: Callable[[], AbstractContextManager[DeltaTable]]
    failure: Callable[[Exception], Exception]
    conflict: Callable[[], Exception]
    attempts: int = ATTEMPTS


def compare_and_swap(race: Race, attempt: Callable[[DeltaTable], T]) -> T:
    """Calls `attempt` with the newest version until no other writer beats its commit, and returns its result.

    Args:
        race: The table and its errors.
        attempt: Decides from the state of the handle: returns without a commit when there is nothing to do, or commits
            on it and returns. It raises `CommitFailedError` or `LostRaceError` when its commit failed.

    Raises:
        Exception: `race.failure` for a commit that fails alone, `race.conflict` after the last attempt, and whatever
            else `attempt` raises.
    """
    for number in range(race.attempts):
        with race.hold() as table:
            version = table.version()
            try:
                return attempt(table)
            except (CommitFailedError, LostRaceError) as error:
                lost = error
        _require_loss(race, version, lost)
        log.debug("%s: attempt %d lost a race: %s", table.table_uri, number + 1, lost)
        pause(number)
    raise race.conflict()


def _require_loss(race: Race, version: int, lost: Exception) -> None:
    """Raises the storage's failure unless another writer has committed meanwhile."""
    if isinstance(lost, SkippedError):
        return
    with race.hold() as table:
        if table.version() == version:
            raise race.failure(lost) from lost


def pause(attempt: int) -> None:
    """Waits a short random time, longer with each attempt, so that two writers do not meet again."""
    time.sleep(random.uniform(0.5, 1.5) * min(0.5, 0.005 * 1.4**attempt))


class PendingChanges:
    """Pending changes by table: the newest one of each slice."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[Slice, Change]] = {}

    def put(self, change: Change) -> None:
        """Adds a change; it replaces a pending one of the same slice."""
        self._changes.setdefault(change.table, {})[_slice(change.slice)] = change

    def of(self, table: str) -> list[Change]:
        """The pending changes of a table."""
        return list(self._changes.get(table, {}).values())

    def take(self) -> Iterator[list[Change]]:
        """Yields the changes of one table after the other; they are dropped once the next ones are asked for."""
        for table in list(self._changes):
            yield list(self._changes[table].values())
            del self._changes[table]


def combined(changes: Sequence[Change]) -> Change:
    """Changes of slices of one table as one change."""
    first, *others = changes
    if not others:
        return first
    data = pa.concat_tables([one.data for one in changes])
    added = all(one.added for one in changes)
    return replace(first, data=data, also=tuple(other.slice for other in others), outdated=None, added=added)


def in_slice(row: Mapping[str, Any], where: Filter) -> bool:
    """True when a row is in a slice; a date selects all of its hours, as in a table."""
    return all(
        (row[name] if isinstance(value, Hour) or name != DATE_COLUMN else date_of(row[name])) == value
        for name, value in where.items()
    )


def _slice(where: Mapping[str, Value]) -> Slice:
    return tuple(sorted(where.items()))
