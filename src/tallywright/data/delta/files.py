"""The data files of one version of a Delta table: their statistics, and reading them with Arrow.

delta-rs' own Arrow readers start threads that often abort a short process at its exit, so the files are read directly.
One bad statistic makes a Delta table unreadable for ever, so only what is certainly valid is written: types are looked
up in the table's schema, non-finite numbers and doubtful types are left out (no statistic is always correct).
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyarrow.parquet import ParquetFile

from tallywright.data.delta.damage import damage_of
from tallywright.data.delta.rows import MAX_TEXT, Filter, Value, candidates, keep, rows_of, scalar_of
from tallywright.data.storage.filesystem import SMALL, SmallFileCache, filesystem_of, is_disk
from tallywright.errors import TableContractError
from tallywright.records import Record
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, Hour, columns_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from deltalake import DeltaTable

_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_INSTANT: Final = pa.timestamp("us", "UTC")
_MANY: Final = 8
"""More files than this are read in threads."""
_PLACE: Final = frozenset({"path", "size_bytes"})
small_files: Final = SmallFileCache()


def delta_statistics(footer: pq.FileMetaData, schema: pa.Schema, *, finite: Collection[str] = ()) -> str:
    """The statistics of a written file, as the JSON text of an add action.

    Args:
        footer: Footer of the written part.
        schema: The part's schema as the table has it.
        finite: Floating-point columns known to hold no NaN; other floats get no minimum and maximum, because
            Parquet leaves NaN out of them and Delta readers do not.
    """
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name, index in flat_columns(footer):
        field = schema.field(name)
        chunks = [footer.row_group(group).column(index).statistics for group in range(footer.num_row_groups)]
        if not chunks or any(chunk is None or not chunk.has_null_count for chunk in chunks):
            continue
        nulls[name] = sum(chunk.null_count for chunk in chunks)
        bounds = [bounds_of(chunk, field.type) for chunk in chunks if chunk.has_min_max]
        complete = len(bounds) == len(chunks)
        if complete and (not pa.types.is_floating(field.type) or name in finite):
            low = rendered(min(low for low, _ in bounds), field.type, up=False)
            high = rendered(max(high for _, high in bounds), field.type, up=True)
            if low is not None and high is not None:
                least[name], most[name] = low, high
    content = {"numRecords": footer.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def flat_columns(footer: pq.FileMetaData) -> Iterator[tuple[str, int]]:
    """Names and places of the columns that are not nested."""
    for index in range(footer.num_columns):
        column = footer.schema.column(index)
        if column.path == column.name:
            yield column.name, index


def bounds_of(chunk: pq.Statistics, kind: pa.DataType) -> tuple[Any, Any]:
    """Least and largest value of a chunk; pyarrow's own conversion of an instant imports pandas."""
    if kind == _INSTANT:
        return _EPOCH + chunk.min_raw * _MICROSECOND, _EPOCH + chunk.max_raw * _MICROSECOND
    return chunk.min, chunk.max


def rendered(value: Any, kind: pa.DataType, *, up: bool) -> int | float | str | None:
    """A bound as a JSON value; None for types and values that get no bound."""
    if pa.types.is_timestamp(kind) and isinstance(value, datetime):
        return _milliseconds(value, up=up)
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_floating(kind):
        return float(value) if math.isfinite(value) else None
    if pa.types.is_date32(kind) and isinstance(value, date):
        return value.isoformat()
    if pa.types.is_string(kind) and isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    return None


def _milliseconds(value: datetime, *, up: bool) -> str | None:
    """An instant in whole milliseconds; a maximum is rounded up, or readers would skip the file for its last row.

    None where that would be beyond the last year.
    """
    instant = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    rest = timedelta(microseconds=instant.microsecond % 1000)
    instant -= rest
    if up and rest:
        if instant > _LAST - _MILLISECOND:
            return None
        instant += _MILLISECOND
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_actions(handle: DeltaTable) -> pa.Table:
    """The flattened add actions of a handle's version; read as a stream, because `pa.table` would import pandas."""
    return pa.RecordBatchReader.from_stream(handle.get_add_actions(flatten=True)).read_all()


class DataFile(Record):
    """One Parquet file of a table; `path` is absolute, `day` its period when the table is partitioned by it."""

    path: str
    size: int
    rows: int
    day: date | None = None


class TableReader:
    """Lists and reads the data files of one version of a table; the listing is kept."""

    def __init__(self, table: DeltaTable, uri: str, options: Mapping[str, str]) -> None:
        self._table = table
        self._version = table.version()
        self._uri = uri
        self._options = dict(options)
        self._small = not table.metadata().partition_columns
        self.schema: pa.Schema = pa.schema(table.schema().to_arrow())

    def is_of(self, table: DeltaTable) -> bool:
        """True for the handle that this was made from, as long as its version is the same."""
        return table is self._table and table.version() == self._version

    def files(self, where: Mapping[str, Value]) -> list[DataFile]:
        """The files that may hold rows of the slice, sorted by path."""
        actions = self._actions(where)
        days = periods_of_files(actions)
        rows = _column(actions, "num_records")
        found = [
            DataFile.model_construct(path=path, size=size, rows=self._rows(path) if count is None else count, day=day)
            for path, size, count, day in zip(
                map(self._absolute, actions["path"].to_pylist()),
                actions["size_bytes"].to_pylist(),
                rows,
                days,
                strict=True,
            )
        ]
        return sorted(found, key=lambda file: file.path)

    def read(self, where: Filter, columns: Sequence[str] | None) -> pa.Table:
        """The rows of the slice, columns in the order given."""
        wanted = list(columns) if columns is not None else self.schema.names
        where = columns_of(where)
        self._require([*wanted, *where])
        schema = pa.schema([self.schema.field(name) for name in dict.fromkeys([*wanted, *where])])
        actions = self._actions(where)
        actions = actions.select([name for name in actions.column_names if name in _PLACE or name in _values(schema)])
        parts = self._read_files(rows_of(actions.sort_by("path")), schema)
        table = pa.concat_tables(parts) if parts else pa.Table.from_batches([], schema)
        return keep(table, where).select(wanted)

    def candidates(self, slices: Sequence[Mapping[str, Value]]) -> list[dict[str, Any]]:
        """The add actions of the files that may hold rows of one of the slices, each once."""
        found = {row["path"]: row for where in slices for row in rows_of(self._actions(where))}
        return list(found.values())

    def read_file(self, action: Mapping[str, Any]) -> pa.Table:
        """All rows and columns of one file, given by its add action."""
        return self._read_file(action, self.schema)

    def _read_files(self, actions: Sequence[Mapping[str, Any]], schema: pa.Schema) -> list[pa.Table]:
        """Reads the files in that order; small files of unpartitioned tables are read once in a process."""
        what = tuple((column.name, column.type) for column in schema)
        keys = [(self._absolute(action["path"]), what) for action in actions]
        parts = [small_files.get(key) for key in keys]
        missing = [index for index, part in enumerate(parts) if part is None]

        def read(index: int) -> None:
            part = self._read_file(actions[index], schema)
            if self._small and actions[index]["size_bytes"] <= SMALL:
                part = small_files.put(keys[index], part)
            parts[index] = part

        if len(missing) > _MANY:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(read, missing))
        else:
            for index in missing:
                read(index)
        return [part for part in parts if part is not None]

    def _read_file(self, action: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
        with damage_of(self._uri, unquote(action["path"])), self._open(action["path"]) as file:
            stored = set(file.schema_arrow.names)
            part = file.read([name for name in schema.names if name in stored], use_threads=False)
        columns = []
        for column in schema:
            if column.name in stored:
                columns.append(part[column.name].cast(column.type))
            else:  # a partition value, or a column that is younger than the file
                columns.append(pa.chunked_array([_filled(action, column, part.num_rows)]))
        return pa.table(columns, schema=schema)

    def _actions(self, where: Filter) -> pa.Table:
        self._require(list(columns_of(where)))
        return candidates(self._all_actions, where)

    @cached_property
    def _all_actions(self) -> pa.Table:
        return add_actions(self._table)

    def _require(self, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in self.schema.names]
        if missing:
            raise TableContractError(
                f"{self._uri} has no column {', '.join(missing)}", expected=f"one of {', '.join(self.schema.names)}"
            )

    def _absolute(self, path: str) -> str:
        decoded = unquote(path)
        return decoded if "://" in decoded or decoded.startswith("/") else f"{self._uri}/{decoded}"

    def _open(self, path: str) -> ParquetFile:
        address = self._absolute(path)
        if is_disk(address):
            return ParquetFile(address, memory_map=False, page_checksum_verification=True)
        filesystem, inner = filesystem_of(address, self._options)
        return ParquetFile(inner, filesystem=filesystem, page_checksum_verification=True)

    def _rows(self, path: str) -> int:
        """The row count of a file that was written without statistics."""
        relative = path.removeprefix(f"{self._uri}/")
        with self._open(relative) as file:
            return int(file.metadata.num_rows)


def list_tables(root: str, options: Mapping[str, str]) -> list[str]:
    """The names of the folders below `root` that have a Delta log, sorted.

    Raises:
        StorageError: The bucket of an object store is missing; a folder that is not there yet has no tables.
    """
    if is_disk(root):
        folder = Path(root)
        return sorted(path.parent.name for path in folder.glob("*/_delta_log")) if folder.is_dir() else []
    filesystem, inner = filesystem_of(root, options)
    entries = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    if not entries:
        _require_bucket(filesystem, inner)
    folders = [entry.path for entry in entries if entry.type == fs.FileType.Directory]
    logs = filesystem.get_file_info([f"{folder}/_delta_log" for folder in folders])
    return sorted(
        folder.rpartition("/")[2]
        for folder, log in zip(folders, logs, strict=True)
        if log.type == fs.FileType.Directory
    )


def _require_bucket(filesystem: fs.FileSystem, inner: str) -> None:
    bucket = inner.partition("/")[0]
    if filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
        raise FileNotFoundError(f"no bucket {bucket}")


def _filled(action: Mapping[str, Any], column: pa.Field, rows: int) -> pa.Array:
    value = action.get(f"partition.{column.name}")
    return pa.nulls(rows, column.type) if value is None else pa.repeat(scalar_of(value, column.type), rows)


def _values(schema: pa.Schema) -> set[str]:
    """The names of the partition values of these columns in add actions."""
    return {f"partition.{name}" for name in schema.names}


def periods_of_files(actions: pa.Table) -> list[date | None]:
    """The period of each file, of flattened add actions; None in a table that is not partitioned by it."""
    days = _column(actions, f"partition.{DATE_COLUMN}")
    if f"partition.{HOUR_COLUMN}" not in actions.column_names:
        return days
    instants = actions[f"partition.{HOUR_COLUMN}"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return [
        Hour(day, _EPOCH + instant * _MICROSECOND) if day is not None and instant is not None else day
        for day, instant in zip(days, instants, strict=True)
    ]


def _column(actions: pa.Table, name: str) -> list[Any]:
    return actions[name].to_pylist() if name in actions.column_names else [None] * actions.num_rows
