"""Small tables of a model: declared once, read as records, written by compare-and-swap; a table may be missing.

A decision depends on the rows that are there already. If another run was faster, its rows may change what is to be
written, so the change is computed again from them; the last writer must not simply win.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Union, get_args, get_origin

import pyarrow as pa
from pydantic import ValidationError

from tallywright.data.delta.commit import Change, compare_and_swap, in_slice
from tallywright.data.delta.rows import rows_of, table_of
from tallywright.errors import IntegrityError, TableContractError
from tallywright.observability import failpoint
from tallywright.records import Record
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deltalake import DeltaTable
    from pydantic.fields import FieldInfo

    from tallywright.data.delta.lake import Lake
    from tallywright.data.delta.rows import Filter, Value
    from tallywright.spec.model import ModelSpec

R = TypeVar("R", bound=Record)
_TYPES: Final[Mapping[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
}
T = TypeVar("T")
_MOST_ROWS: Final = 50
"""More rows that change than this are not named one by one: the whole table is rewritten."""


class Kind(StrEnum):
    """How rows are written to a table."""

    APPEND = "a row is appended by compare-and-swap; rows never change"
    SLICE = "all rows of a slice are replaced in one commit; its last writer wins"
    UPDATE = "rows are added and changed as those that are there demand, by compare-and-swap"


@dataclass(frozen=True)
class Declaration(Generic[R]):
    """The declaration of a small table that each model has.

    Attributes:
        what: `tallies` for `<model>__tallies`.
        record: A row; the stored columns are its fields, in their order.
        key: The columns that tell rows apart.
        slice: The columns whose values say which rows a write replaces.
        kind: How rows come into it.
        doc: One line for `docs/tables.md`.
        partition_by: Columns that have a folder a value; small tables have none.
        numbered: A column that gets the version of the commit: newer rows have higher numbers, whatever a clock says.
    """

    what: str
    record: type[R]
    key: tuple[str, ...]
    slice: tuple[str, ...]
    kind: Kind
    doc: str
    partition_by: tuple[str, ...] = ()
    numbered: str = ""

    @property
    def point(self) -> str:
        """The failpoint before it is asked what stands in the table, and again right before a commit."""
        return f"before-{self.what}"

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored columns, but for that of an hour."""
        return pa.schema([(name, _arrow_type(field)) for name, field in self.record.model_fields.items()])

    @cached_property
    def hourly_schema(self) -> pa.Schema:
        """The stored columns where periods are hours: after the date comes the instant."""
        place = self.schema.get_field_index(DATE_COLUMN)
        hour = pa.field(HOUR_COLUMN, pa.timestamp("us", "UTC"))
        return self.schema if place < 0 else self.schema.insert(place + 1, hour)

    def require(self, kind: Kind) -> None:
        """Refuses a write of another kind than was declared.

        Raises:
            TypeError: It is of another kind.
        """
        if kind is not self.kind:
            raise TypeError(f"the table of {self.what} is declared as {self.kind.name}, not {kind.name}")

    def record_of(self, row: Mapping[str, Any]) -> R:
        """A stored row as a record: columns that only the table has are left out, missing ones have their default.

        Raises:
            IntegrityError: It holds what no row of the table can hold.
        """
        known = {}
        for name, field in self.record.model_fields.items():
            value = row.get(name)
            if value is not None or field.is_required():
                known[name] = value
        try:
            return self.record.model_validate(known)
        except ValidationError as error:
            raise self._unreadable(row, error) from error

    def _unreadable(self, row: Mapping[str, Any], error: ValidationError) -> IntegrityError:
        which = ", ".join(f"{name} {row.get(name)}" for name in self.key)
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return IntegrityError(
            f"the table of {self.what} has a row ({which}) that cannot be read: {wrong}",
            expected="rows as they were committed",
            remedy="tally verify MODEL --repair, or a backup",
        )


def _arrow_type(field: FieldInfo) -> pa.DataType:
    """The Arrow type of a field's annotation; one in `Annotated[…]` goes before it."""
    given = next((extra for extra in field.metadata if isinstance(extra, pa.DataType)), None)
    return given if given is not None else _type_of(field.annotation)


def _type_of(annotation: Any) -> pa.DataType:
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return pa.list_(_type_of(get_args(annotation)[0]))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return pa.string()
    try:
        return _TYPES[annotation]
    except KeyError:
        raise TypeError(f"no column can hold {annotation!r}; a table has {', '.join(map(str, _TYPES))}") from None


class Table(Generic[R]):
    """A declared table of one model; each read looks at the newest version.

    Args:
        declaration: What it is.
        lake: Where it lives.
        spec: Whose it is.
    """

    def __init__(self, declaration: Declaration[R], lake: Lake, spec: ModelSpec) -> None:
        self.declaration = declaration
        self.name = spec.table(declaration.what)
        self.schema = declaration.hourly_schema if spec.is_hourly else declaration.schema
        self._lake = lake

    def read(self, where: Filter | None = None) -> list[R]:
        """The rows of a slice (or all); none where the table is missing. Files that cannot match are not opened."""
        return [self.declaration.record_of(row) for row in self.rows(where)]

    def rows(self, where: Filter | None = None, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """As `read`, only these columns and as unchecked dictionaries: for tables with thousands of rows."""
        standing = self._lake.find(self.name)
        if pending := self._lake.pending_of(self.name):
            return self._with_pending(standing, pending, where or {}, columns)
        return [] if standing is None else rows_of(self._read(standing, where, columns))

    def _with_pending(
        self,
        standing: DeltaTable | None,
        pending: Sequence[Change],
        where: Filter,
        columns: Sequence[str] | None,
    ) -> list[dict[str, Any]]:
        """The rows as they will be once the pending changes are written."""
        names = list(columns or self.schema.names)
        needed = [*dict.fromkeys([*names, *self.declaration.slice, *where])]
        replaced = {tuple(change.slice[name] for name in self.declaration.slice) for change in pending}
        stored = [] if standing is None else rows_of(self._read(standing, where, needed))
        kept = [row for row in stored if tuple(row[name] for name in self.declaration.slice) not in replaced]
        added = [row for change in pending for row in rows_of(change.data) if in_slice(row, where)]
        return [{name: row[name] for name in names if name in row} for row in (*kept, *added)]

    def replace(self, records: Sequence[R], *, outdated: Callable[[DeltaTable], str] | None = None) -> int | None:
        """Replaces the records' slice, in one commit.

        Args:
            records: All of the slice.
            outdated: Asked in every attempt to commit; a text says why the records must not be written any more.

        Returns:
            The version of the commit; None where it is pending (`Lake.batching`), or outdated.

        Raises:
            TallyError: As `Lake.replace`; a `TableContractError` for records of several slices.
        """
        self.declaration.require(Kind.SLICE)
        return self._write(replace(self._change(records), outdated=outdated))

    def replace_if_changed(
        self,
        records: Sequence[R],
        where: Mapping[str, Value] | None = None,
        *,
        outdated: Callable[[DeltaTable], str] | None = None,
    ) -> int | None:
        """As `replace`, but commits nothing when the slice holds exactly these records already.

        Args:
            records: All of the slice.
            where: The slice, where there may be no record of it.
            outdated: As in `replace`.
        """
        self.declaration.require(Kind.SLICE)
        failpoint(self.declaration.point)
        change = replace(self._change(records, where), outdated=outdated)
        is_pending = any(other.slice == change.slice for other in self._lake.pending_of(self.name))
        return None if self._lake.is_held(change) and not is_pending else self._write(change)

    def _write(self, change: Change) -> int | None:
        if self._lake.pending is None:
            version = self._lake.write(change)
            self._lake.written(self.name)
            return version
        self._lake.pending.put(self._provisional(change))
        return None

    def _provisional(self, change: Change) -> Change:
        """A pending change whose rows are newer than all that is written; the commit gives them their number."""
        if not change.numbered:
            return change
        standing = self._lake.find(self.name)
        return replace(change, data=change.with_numbers(0 if standing is None else standing.version() + 1))

    def append(self, propose: Callable[[list[R]], R | None]) -> R | None:
        """Appends the record that `propose` makes of all records, onto exactly the version they were read from.

        Args:
            propose: Asked again whenever another writer was faster; None when nothing is to be written. It may raise.

        Returns:
            The record as written, or None.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The table cannot be read or written.
        """
        self.declaration.require(Kind.APPEND)

        def added(records: list[R]) -> tuple[R, Change] | None:
            record = propose(records)
            return None if record is None else (record, self._change([record]))

        return self._swap(added)

    def update(self, propose: Callable[[list[R]], list[R] | None], where: Mapping[str, Value]) -> bool:
        """Writes what `propose` makes of all records, onto exactly the version that they were read from.

        Args:
            propose: Given all records, returns all as they shall stand, or None when nothing is to be written; asked
                again whenever another writer was faster.
            where: The slice that all records are.

        Returns:
            True when something was written.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The table cannot be read or written.
        """
        self.declaration.require(Kind.UPDATE)

        def rewritten(records: list[R]) -> tuple[bool, Change] | None:
            wanted = propose(records)
            return None if wanted is None else (True, self._difference(records, wanted, where))

        return self._swap(rewritten) or False

    def _difference(self, standing: Sequence[R], wanted: Sequence[R], where: Mapping[str, Value]) -> Change:
        """The change that makes `wanted` of `standing`: only rows that differ are written, unless they are many."""
        before, after = self._by_key(standing), self._by_key(wanted)
        touched = [key for key in before if after.get(key) != before[key]]
        if len(before) < len(standing) or len(after) < len(wanted) or len(touched) > _MOST_ROWS:
            return self._change(wanted, where)
        written = [key for key in after if after[key] != before.get(key)]
        slices = [dict(zip(self.declaration.key, key, strict=True)) for key in dict.fromkeys([*touched, *written])]
        if not slices:
            return self._change(wanted, where)
        change = self._change([after[key] for key in written], slices[0])
        if touched:
            return replace(change, also=tuple(slices[1:]))
        return replace(change, slice=where, added=True)

    def _by_key(self, records: Sequence[R]) -> dict[tuple[Value, ...], R]:
        return {tuple(getattr(record, name) for name in self.declaration.key): record for record in records}

    def _swap(self, propose: Callable[[list[R]], tuple[T, Change] | None]) -> T | None:
        if self._lake.find(self.name) is None and propose([]) is None:
            return None  # no table for nothing

        def attempt(base: DeltaTable) -> T | None:
            rows = rows_of(self._read(base, None, None))
            proposed = propose([self.declaration.record_of(row) for row in rows])
            if proposed is None:
                return None
            result, change = proposed
            self._lake.attempt(change, base)
            return result

        result = compare_and_swap(self._lake.race(self._change([])), attempt)
        if result is not None:
            self._lake.written(self.name)
        return result

    def _read(self, handle: DeltaTable, where: Filter | None, columns: Sequence[str] | None) -> pa.Table:
        stored = {field.name for field in handle.schema().fields}
        if DATE_COLUMN in self.schema.names and (HOUR_COLUMN in stored) != (HOUR_COLUMN in self.schema.names):
            raise TableContractError(
                f"{self.name} is of a model that is {'' if HOUR_COLUMN in stored else 'not '}scored by the hour",
                expected="the schedule.cadence that the model began with: its tables have periods of one kind",
                remedy="set schedule.cadence back, or give the new model another name",
            )
        wanted = [name for name in columns or self.schema.names if name in stored]
        if DATE_COLUMN in wanted and HOUR_COLUMN not in wanted and HOUR_COLUMN in self.schema.names:
            wanted.append(HOUR_COLUMN)
        return self._lake.read(self.name, where=where, columns=wanted, version=handle)

    def _change(self, records: Sequence[R], where: Mapping[str, Value] | None = None) -> Change:
        data = table_of([record.model_dump() for record in records], self.schema)
        if where is None and records:
            where = {name: getattr(records[0], name) for name in self.declaration.slice}
        return Change(
            self.name,
            data,
            where or {},
            self.declaration.partition_by,
            numbered=self.declaration.numbered,
            point=self.declaration.point,
        )
