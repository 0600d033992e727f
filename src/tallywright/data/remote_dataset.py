"""Data files on an object store as one Arrow dataset that SQL can scan: columns and filters reach the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import dataset

from tallywright.data.delta.rows import scalar_of
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.score_period import columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile

_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def remote_dataset(table: DeltaTable, files: Sequence[DataFile], options: Mapping[str, str]) -> dataset.Dataset:
    """The rows of some files of a table, in the table's schema: partition values filled in, younger columns null."""
    schema = pa.schema(table.schema().to_arrow())
    partitions = [schema.field(name) for name in table.metadata().partition_columns]
    kind = dataset.ParquetFileFormat()
    fragments = []
    for file in files:
        filesystem, inner = filesystem_of(file.path, options)
        where = _where(inner, partitions) if file.day is None else _of_period(file.day, schema)
        fragments.append(kind.make_fragment(inner, filesystem, partition_expression=where))
    return dataset.FileSystemDataset(fragments, schema, kind)


def _of_period(period: date, schema: pa.Schema) -> dataset.Expression:
    """The columns of a period as an expression."""
    found = dataset.scalar(True)
    for name, value in columns_of({"score_date": period}).items():
        found = found & (dataset.field(name) == scalar_of(value, schema.field(name).type))
    return found


def _where(path: str, partitions: Sequence[pa.Field]) -> dataset.Expression:
    """The partition values of a file as an expression; both Hive and Delta write them into the folders' names."""
    found = dataset.scalar(True)
    folders = dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)
    for column in partitions:
        value, name = unquote(folders[column.name]), dataset.field(column.name)
        found = found & (name.is_null() if value == _NULL else name == pa.scalar(value).cast(column.type))
    return found
