"""Replaces slices of a table by new rows: one new file with checksums, and its description in the commit.

What a commit adds stands in its information under `tallywright.files`, so that a reader can tell a file of ours from
one that somebody else added, and whether it is still the same.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs

from tallywright.data.delta.files import TableReader, delta_statistics
from tallywright.data.delta.footers import read_footer
from tallywright.data.delta.rows import scalar_of
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.score_period import PARTITIONINGS, partition_folder, partition_values, period_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.rows import Value
    from tallywright.records import CommittedFile

FILES_KEY: Final = "tallywright.files"
"""In a commit's information: the files that it adds, as JSON of `CommittedFile`."""
VERSION_KEY: Final = "tallywright.version"
"""In a commit's information: the version that it makes, which tells its file in the log from a copy of another's."""
DATE_KEY: Final = "tallywright.date"
"""In a commit's information: the period whose rows it replaces, in a table that is partitioned by periods."""
WRITER_KEY: Final = "tallywright.writer"
"""In the information of our commits that do not name their files, because another library wrote them."""
_ROW_GROUP: Final = 262_144
"""Scoring hands out row groups: smaller ones than the default million keep every core busy, and memory low."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """New rows for some slices of a table, with what the commit says.

    Attributes:
        data: All rows of the slices, in the columns and types of the table.
        slices: Column values; exactly the rows with the values of one of them are replaced.
        message: Commit metadata; values are texts.
        transaction: An app transaction whose version becomes the Delta version of the commit.
        added: True when no row of the slices is there yet: no file is read.
    """

    data: pa.Table
    slices: Sequence[Mapping[str, Value]]
    message: Mapping[str, str]
    transaction: str = ""
    added: bool = False

    def fits(self, base: DeltaTable) -> bool:
        """True when the table has all its columns, and no partition or the one of a single score period."""
        partitions = base.metadata().partition_columns
        names = {field.name for field in base.schema().fields}
        days = {period_of(where) for where in self.slices}
        by_period = tuple(partitions) in PARTITIONINGS
        dated = by_period and len(days) == 1 and all(set(partitions) <= where.keys() for where in self.slices)
        return set(self.data.column_names) <= names and (not partitions or dated)

    def commit(self, base: DeltaTable, uri: str, options: Mapping[str, str]) -> None:
        """Commits the rows on top of the version of `base`, which moves to the new version.

        Raises:
            CommitFailedError: Another writer was faster; nothing is left behind.
            Exception: Whatever the storage raises; a file that a commit may yet name is left.
        """
        partitions = base.metadata().partition_columns
        removed, kept = ([], []) if self.added else self._replaced(base, uri, options, partitions)
        rows = pa.concat_tables([*kept, self.data])
        written = None
        if rows.num_rows:
            written = write_file(rows.drop_columns(partitions), uri, options, folder=self._folder(partitions))
        try:
            self._commit(base, written, removed, partitions)
        except CommitFailedError:
            if written is not None:
                _discard(f"{uri}/{written[0].path}", options)
            raise
        with suppress(DeltaError, OSError):
            # Unlike other commits, this kind does not move the handle; if this fails, the next reader refreshes it.
            base.update_incremental()

    def _folder(self, partitions: Sequence[str]) -> str:
        return f"{partition_folder(self._period)}/" if partitions else ""

    @property
    def _period(self) -> date:
        """The one period of the slices, in a table that is partitioned by it."""
        found = period_of(self.slices[0])
        assert found is not None  # noqa: S101 - it fits
        return found

    def _replaced(
        self, base: DeltaTable, uri: str, options: Mapping[str, str], partitions: Sequence[str]
    ) -> tuple[list[dict[str, Any]], list[pa.Table]]:
        """The files that hold rows of the slices, and their other rows."""
        reader = TableReader(base, uri, options)
        removed, kept = [], []
        for action in reader.candidates(self.slices):
            if set(partitions) != set(self.slices[0]):
                rows = reader.read_file(action)
                inside = _inside(rows, self.slices)
                if not pc.any(inside).as_py():
                    continue
                kept.append(rows.filter(pc.invert(inside)))
            removed.append(action)
        return removed, kept

    def _commit(
        self,
        base: DeltaTable,
        written: tuple[CommittedFile, str] | None,
        removed: Sequence[Mapping[str, Any]],
        partitions: Sequence[str],
    ) -> None:
        now = int(time.time() * 1000)
        values = partition_values(self._period) if partitions else {}
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(
                path=action["path"],
                data_change=True,
                deletion_timestamp=now,
                size=action["size_bytes"],
                partition_values=values,
            )
            for action in removed
        ]
        files = []
        if written is not None:
            file, statistics = written
            files.append(file.model_dump())
            actions.append(
                AddAction(
                    path=file.path,
                    size=file.size,
                    partition_values=values,
                    modification_time=now,
                    data_change=True,
                    stats=statistics,
                )
            )
        base.create_write_transaction(
            actions,
            mode="append",
            schema=base.schema(),
            partition_by=list(partitions),
            commit_properties=CommitProperties(
                custom_metadata={
                    **self.message,
                    **({DATE_KEY: str(self._period)} if partitions else {}),
                    FILES_KEY: json.dumps(files),
                    VERSION_KEY: str(base.version() + 1),
                },
                max_commit_retries=0,
                app_transactions=[Transaction(self.transaction, base.version() + 1)] if self.transaction else None,
            ),
        )


def write_file(rows: pa.Table, uri: str, options: Mapping[str, str], *, folder: str = "") -> tuple[CommittedFile, str]:
    """Writes rows to a new file of a table, with page checksums; no reader sees it until it is committed.

    Returns:
        The file, and the statistics for its add action.
    """
    path = f"{folder}part-{uuid.uuid4()}.parquet"
    address = f"{uri}/{path}"
    filesystem, inner = filesystem_of(address, options)
    if isinstance(filesystem, fs.LocalFileSystem):  # an object store has no folders
        filesystem.create_dir(inner.rpartition("/")[0], recursive=True)
    # A dictionary of floats could fold values together that differ in their bits.
    texts = [field.name for field in rows.schema if not pa.types.is_floating(field.type)]
    floats = (field.name for field in rows.schema if pa.types.is_floating(field.type))
    finite = {name for name in floats if not pc.any(pc.is_nan(rows[name])).as_py()}
    try:
        pq.write_table(
            rows.replace_schema_metadata(None),
            inner,
            filesystem=filesystem,
            row_group_size=_ROW_GROUP,
            use_dictionary=texts,
            store_schema=False,
            write_page_checksum=True,
        )
        footer = read_footer(address, options)
    except BaseException:
        _discard(address, options)
        raise
    return footer.committed(path, checksums=True), delta_statistics(footer.metadata, rows.schema, finite=finite)


def _discard(address: str, options: Mapping[str, str]) -> None:
    """Deletes an uncommitted file; one that cannot be deleted is an orphan, and found later."""
    filesystem, inner = filesystem_of(address, options)
    with suppress(OSError, pa.ArrowException):
        filesystem.delete_file(inner)


def _inside(rows: pa.Table, slices: Sequence[Mapping[str, Value]]) -> pa.ChunkedArray:
    """A mask of the rows that are in one of the slices."""
    false = scalar_of(False, pa.bool_())
    found = None
    for where in slices:
        inside = None
        for name, value in where.items():
            equal = pc.fill_null(pc.equal(rows[name], scalar_of(value, rows.schema.field(name).type)), false)
            inside = equal if inside is None else pc.and_(inside, equal)
        found = inside if found is None else pc.or_(found, inside)
    return found
