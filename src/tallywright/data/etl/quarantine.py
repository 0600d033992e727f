"""Rows that are not taken: as reason, file, line and the whole row as one JSON text, whichever engine rejected them.

The JSON is made here from Arrow, because engines differ in how they write it. A row that cannot be read has the cells
as they were delivered. What has no score date that could be told stands in `<model>__unreadable`.
"""

# ruff: noqa: S608 - columns cannot be parameters; names are quoted

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import number_array, string_array, valid_mask, values_of
from tallywright.data.delta.rows import quoted, rows_of
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.embedded_sql import connect
from tallywright.data.raw.typed import LINE_BITS
from tallywright.observability import log
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.data.raw.relation import RawFile, Relation
    from tallywright.spec import ModelSpec

_PLACED: Final = pa.schema(
    [("reason", pa.string()), ("raw_row", pa.string()), ("file", pa.string()), ("line", pa.int64())]
)
_SHOWN: Final = 5


class UnreadableRow(Record):
    """One row of `<model>__unreadable`."""

    model_name: str
    source: str
    file: str
    line: int
    reason: str
    raw_row: str


UNREADABLE: Final = Declaration(
    what="unreadable",
    record=UnreadableRow,
    key=("source", "file", "line"),
    slice=("model_name",),
    kind=Kind.SLICE,
    doc="the raw rows of the last reading that cannot be read and whose score date cannot be told, with the reason",
)


def quarantine_rows(
    rejected: pa.Table, numbers: pa.ChunkedArray | None = None, files: Sequence[RawFile] = ()
) -> pa.Table:
    """Rows that have a `reject_reason` as quarantine has them, sorted; file and line are null without their numbers.

    The JSON object has the columns of the contract query, in its order.
    """
    if not rejected.num_rows:
        return pa.Table.from_batches([], _PLACED)
    if numbers is None:
        numbers = pa.chunked_array([pa.nulls(rejected.num_rows, pa.int64())])
    return _as_json(rejected, _places(numbers, files)).cast(_PLACED)


def _as_json(rejected: pa.Table, places: list[pa.Array]) -> pa.Table:
    packed = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in rejected.column_names)
    for name, column in zip(("__file", "__line"), places, strict=True):
        rejected = rejected.append_column(name, column)
    query = (
        f"SELECT reject_reason AS reason, CAST(to_json(struct_pack({packed})) AS VARCHAR) AS raw_row, "
        "__file AS file, __line AS line FROM rejected ORDER BY ALL"
    )
    with connect() as connection:
        connection.register("rejected", rejected)
        return connection.sql(query).to_arrow_table()


def _places(numbers: pa.ChunkedArray, files: Sequence[RawFile]) -> list[pa.Array]:
    """File and line of numbered rows."""
    column = numbers.combine_chunks()
    known = valid_mask(column)
    if not known.any():
        return [pa.nulls(len(column), pa.string()), pa.nulls(len(column), pa.int64())]
    values = np.where(known, values_of(column), 0)
    names = string_array([file.file for file in files]).cast(pa.string())
    places = number_array((values >> LINE_BITS).astype(np.int32), pa.int32())
    found = pa.DictionaryArray.from_arrays(places, names).cast(pa.string())
    lines = number_array(values & ((1 << LINE_BITS) - 1), pa.int64())
    if known.all():
        return [found, lines]
    mask = number_array(known.astype(np.int8), pa.int8()).cast(pa.bool_())
    return [pc.if_else(mask, found, pa.nulls(len(found), pa.string())),
            pc.if_else(mask, lines, pa.nulls(len(lines), pa.int64()))]  # fmt: skip


class Unreadable:
    """The rows of the sources that have a cell of no value of its type, or another width than the header.

    Attributes:
        numbers: Their numbers, sorted.
    """

    def __init__(self, relations: Sequence[Relation], files: Sequence[RawFile]) -> None:
        self._files = files
        parts = [_read(relation) for relation in relations if relation.unreadable]
        self._rows = pa.concat_tables(parts) if parts else None
        self.numbers: NDArray[np.int64] = np.zeros(0, np.int64)
        if self._rows is not None:
            self._rows = self._rows.sort_by("number")
            self.numbers = values_of(self._rows["number"].combine_chunks())

    @property
    def example(self) -> str:
        """The first of them, with file, line and reason."""
        [row] = rows_of(self.of(self.numbers[:1]))
        return f"{row['file']} line {row['line']}: {row['reason']}"

    def of(self, numbers: NDArray[np.int64]) -> pa.Table:
        """These rows, as quarantine has them."""
        rows = self._of(numbers)
        if rows is None:
            return pa.Table.from_batches([], _PLACED)
        return pa.table([rows["reason"], rows["raw_row"], *_places(rows["number"], self._files)], schema=_PLACED)

    def record(self, lake: Lake, spec: ModelSpec, undated: NDArray[np.int64]) -> None:
        """Keeps those without a date, in place of what was kept of an earlier reading; says which they are."""
        table = Table(UNREADABLE, lake, spec)
        if not undated.size and lake.find(table.name) is None:
            return
        rows = self._of(undated)
        placed_rows = rows_of(self.of(undated))
        sources = [] if rows is None else [self._files[int(one) >> LINE_BITS].source for one in undated]
        records = [
            UnreadableRow(model_name=spec.name, source=source, **row)
            for source, row in zip(sources, placed_rows, strict=True)
        ]
        for row in records[:_SHOWN]:
            log.warning("%s line %d: %s: quarantined without a date", row.file, row.line, row.reason)
        if len(records) > _SHOWN:
            log.warning("and %d more rows without a date: they stand in %s", len(records) - _SHOWN, table.name)
        table.replace_if_changed(records, {"model_name": spec.name})

    def _of(self, numbers: NDArray[np.int64]) -> pa.Table | None:
        if self._rows is None or not numbers.size:
            return None
        chosen = np.isin(self.numbers, numbers)
        return self._rows.filter(number_array(chosen.astype(np.int8), pa.int8()).cast(pa.bool_()))


def _read(relation: Relation) -> pa.Table:
    """Number, reason and JSON text of the unreadable rows of a staged source."""
    from pyarrow.parquet import ParquetFile

    [path] = relation.paths
    columns = [relation.number, relation.reason, relation.raw_row]
    parts = []
    with ParquetFile(path) as file:
        for batch in file.iter_batches(columns=columns):
            kept = batch.filter(batch.column(relation.reason).is_valid())
            numbers = number_array(values_of(kept.column(relation.number)) + relation.offset, pa.int64())
            reasons, raw_rows = kept.column(relation.reason), kept.column(relation.raw_row)
            parts.append(pa.table([numbers, reasons, raw_rows], ["number", "reason", "raw_row"]))
    return pa.concat_tables(parts)
