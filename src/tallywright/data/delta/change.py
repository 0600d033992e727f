"""The new content of one slice of a table: one commit on exactly the version of a handle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from tallywright.data.delta.commit import LostRaceError
from tallywright.data.delta.protocol import TABLE_PROPERTIES
from tallywright.data.delta.schema import fitted, plain
from tallywright.data.delta.slices import Value, predicate
from tallywright.data.storage.errors import storage_errors
from tallywright.data.storage.store_errors import cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
        also: More slices that are replaced in the same commit; every row is in one of them.
    """

    table: str
    data: pa.Table
    slice: Mapping[str, Value]
    partition_by: Sequence[str] = ()
    message: Mapping[str, str] = field(default_factory=dict)
    transaction: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Mapping[str, Value], ...] = ()

    def write(self, base: DeltaTable, uri: str, *, row_group: int) -> int:
        """Commits the change on top of the version of `base`, which moves to the new version.

        Raises:
            LostRaceError: The commit failed; nothing was written.
            StorageError: Storage that cannot be written.
            TableContractError: Rows that do not fit the table or the slice.
        """
        version, slices = base.version() + 1, (self.slice, *self.also)
        data = fitted(plain(self.data), pa.schema(base.schema().to_arrow()), slices, uri)
        with storage_errors(f"writing {uri}"):
            try:
                write_deltalake(
                    base,
                    data,
                    mode="overwrite",
                    predicate=" OR ".join(f"({predicate(where)})" for where in slices),
                    schema_mode="merge",
                    writer_properties=WriterProperties(max_row_group_size=row_group),
                    commit_properties=CommitProperties(
                        custom_metadata=dict(self.message) or None,
                        max_commit_retries=0,
                        app_transactions=[Transaction(self.transaction, version)] if self.transaction else None,
                    ),
                )
            except CommitFailedError as error:
                raise LostRaceError(cause_of(error)) from error
        return version

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
            storage_options=dict(options) or None,
            # Retried, a creation that lost a race would stand in the log again, with another table id.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
