"""Rewrites data files into one: the same rows in the same order, verified before the new file is committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tallywright.data.delta.files import delta_statistics
from tallywright.data.delta.footers import footer_at
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.errors import StorageError, TableContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.data.upkeep.table_folder import TableFolder
    from tallywright.records import CommittedFile

_BATCH_ROWS: Final = 65_536
_ROW_GROUP_ROWS: Final = 262_144
"""As ingest and scoring write them: scoring hands out row groups."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new file, as its add action needs it."""

    file: CommittedFile
    statistics: str

    @property
    def path(self) -> str:
        """Its path in the table's folder."""
        return self.file.path


def rewrite(
    folder: TableFolder, sources: Sequence[str], target: str, schema: pa.Schema, partitions: Sequence[str] = ()
) -> Rewritten:
    """Writes the rows of the sources, one after the other, to a new file; memory is bounded by a row group.

    Args:
        folder: The table's folder.
        sources: Paths of the files.
        target: Path of the new file; it is deleted again when anything fails.
        schema: The table's schema without partition columns; a column that a file lacks is null in its rows.
        partitions: The partition columns. Spark writes them into the files as well; the log's values are the truth.

    Raises:
        StorageError: What was written is not what was read.
        TableContractError: A source has a column that the table has not, or one whose values cannot be compared.
    """
    try:
        _require_known(folder, sources, {*schema.names, *partitions})
        read, finite = _copy(folder, sources, target, schema)
        written = sum((digest(batch, schema.names) for batch in _batches(folder, target, schema)), start=RowDigest())
        if read != written:
            raise StorageError(
                f"{target} holds {written.rows} rows that differ from the {read.rows} rows it was made from",
                expected="the same rows, value by value",
                remedy="the table is unchanged; check the storage, then run it again",
            )
        footer = footer_at(folder.filesystem, target)
    except BaseException:
        folder.discard(target)
        raise
    file = footer.committed(target, checksums=True)
    return Rewritten(file, delta_statistics(footer.metadata, schema, finite=finite))


def _require_known(folder: TableFolder, sources: Sequence[str], known: set[str]) -> None:
    """Refuses files with a column that would be lost."""
    for source in sources:
        with folder.filesystem.open_input_file(source) as stream:
            unknown = set(pq.read_schema(stream).names) - known
        if unknown:
            raise TableContractError(
                f"{source} has columns that its table has not: {', '.join(sorted(unknown))}",
                expected="columns are added to a table, never taken away",
            )


def _copy(
    folder: TableFolder, sources: Sequence[str], target: str, schema: pa.Schema
) -> tuple[RowDigest, frozenset[str]]:
    """Copies the rows; returns their digest, and the floating-point columns that hold no NaN."""
    read = RowDigest()
    finite = {field.name for field in schema if pa.types.is_floating(field.type)}
    # A dictionary of floats could fold values together that differ in their bits.
    texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
    waiting: list[pa.RecordBatch] = []
    with (
        folder.create(target) as stream,
        pq.ParquetWriter(
            stream, schema.remove_metadata(), use_dictionary=texts, store_schema=False, write_page_checksum=True
        ) as writer,
    ):
        for source in sources:
            for batch in _batches(folder, source, schema):
                read += digest(batch, schema.names)
                finite -= {name for name in finite if pc.any(pc.is_nan(batch.column(name))).as_py()}
                waiting.append(batch)
                if sum(held.num_rows for held in waiting) >= _ROW_GROUP_ROWS:
                    _flush(writer, waiting)
        _flush(writer, waiting)
    return read, frozenset(finite)


def _flush(writer: pq.ParquetWriter, waiting: list[pa.RecordBatch]) -> None:
    if waiting:
        writer.write_table(pa.Table.from_batches(waiting), row_group_size=2 * _ROW_GROUP_ROWS)
        waiting.clear()


def _batches(folder: TableFolder, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with (
        folder.filesystem.open_input_file(path) as stream,
        pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        present = set(file.schema_arrow.names)
        columns = [name for name in schema.names if name in present]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False):
            arrays = [
                batch.column(field.name).cast(field.type)
                if field.name in present
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            yield pa.record_batch(arrays, schema=schema.remove_metadata())
