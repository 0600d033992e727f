"""The rows of one day for a gate: all of them, or a bounded sample of a large day beside exact counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from tallywright.data.fingerprint import row_hashes
from tallywright.data.storage.filesystem import is_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.records import InputVersion
    from tallywright.spec import ModelSpec

MAX_ROWS: Final = 500_000
"""A larger day is sampled down to about this many rows."""


@dataclass(frozen=True, slots=True)
class DayRows:
    """A day as a gate sees it.

    Attributes:
        table: All rows, or the sample.
        rows: How many there are, exactly.
        missing: Null or NaN values by column, exactly.
    """

    table: pa.Table
    rows: int
    missing: dict[str, int]

    @property
    def sampled(self) -> bool:
        """True when `table` holds only some of the rows."""
        return int(self.table.num_rows) < self.rows


def read_day(lake: Lake, spec: ModelSpec, judged: InputVersion, *, max_rows: int = MAX_ROWS) -> DayRows:
    """Reads the day as pinned by `judged`.

    The sample is taken by the hash of the keys: it does not depend on how the rows are stored, and holds the same rows
    when the day is judged again.

    Raises:
        StorageError: The table or the pinned version is gone.
    """
    files = lake.files(judged.table, day=judged.score_date, version=judged.version)
    rows = sum(file.rows for file in files)
    if rows <= max_rows or not all(is_disk(file.path) for file in files):
        where = {"score_date": judged.score_date}
        table = lake.read(judged.table, where=where, version=judged.version)
        missing = _missing(table)
        kept = table if rows <= max_rows else _sample(table, spec, max_rows / rows)
        return DayRows(kept, table.num_rows, missing)
    schema = pa.schema(lake.look(judged.table, judged.version).schema().to_arrow())
    missing, parts = dict.fromkeys(schema.names, 0), [schema.empty_table()]
    for batch in _batches([file.path for file in files]):
        part = _aligned(pa.Table.from_batches([batch]), schema, judged.score_date)
        for name, count in _missing(part).items():
            missing[name] += count
        parts.append(_sample(part, spec, max_rows / rows))
    return DayRows(pa.concat_tables(parts), rows, missing)


def _batches(paths: list[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1 << 16)


def _aligned(table: pa.Table, schema: pa.Schema, day: date) -> pa.Table:
    """The columns of the table's schema: the partition's date is no part of the file, a younger column is null."""
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        elif field.name == "score_date":
            columns.append(pa.repeat(pa.scalar(day, field.type), table.num_rows))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _missing(table: pa.Table) -> dict[str, int]:
    counts = {}
    for name in table.column_names:
        is_float = pa.types.is_floating(table.schema.field(name).type)
        counts[name] = int(pc.sum(pc.is_null(table[name], nan_is_null=is_float)).as_py() or 0)
    return counts


def _sample(table: pa.Table, spec: ModelSpec, share: float) -> pa.Table:
    key = [name for name in spec.data.key if name in table.column_names] or table.column_names
    hashes = row_hashes(table, key)
    return table.filter(pa.array(hashes < np.uint64(int(min(share, 1.0) * (2**64 - 1)))))
