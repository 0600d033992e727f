"""The scores table: its schema, its creation, and the app transaction whose version is a day's generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
from deltalake import Field, Schema
from deltalake.exceptions import DeltaError

from tallywright.data.delta.commit import Race, SkippedError, compare_and_swap
from tallywright.data.delta.generation import tally_transaction, transaction_version
from tallywright.data.delta.lake import Change
from tallywright.data.delta.schema import arrow_schema
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import CommitConflictError, StorageError, TableContractError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec

_ATTEMPTS: Final = 10


def generation_in(table: DeltaTable, spec: ModelSpec, day: date) -> int:
    """The generation of the day's tally; 0 when the day was never scored."""
    return transaction_version(table, tally_transaction(spec, day)) or 0


def part_schema(table: DeltaTable) -> pa.Schema:
    """The schema that every part must have, exactly: the table's without the partition columns."""
    partitions = table.metadata().partition_columns
    return pa.schema([field for field in arrow_schema(table) if field.name not in partitions])


def open_scores(lake: Lake, spec: ModelSpec, wanted: pa.Schema, *, what: str = "scores") -> DeltaTable:
    """Opens the scores table (or that of shadows), creating it or adding new columns where needed.

    Args:
        lake: Where it lives.
        spec: Whose scores.
        wanted: The columns that this run writes (`scores_schema`).
        what: `scores` or `shadow`.

    Raises:
        TableContractError: The table has unsupported features or a column of another type.
        StorageError: It cannot be created or opened.
    """
    name = spec.table(what)
    change = Change(name, pa.Table.from_batches([], wanted), {}, spec.partition)

    def failure(error: Exception) -> StorageError:
        return StorageError(
            f"the table {name} cannot be opened or created: {cause_of(error)}",
            expected=f"a Delta table, or an empty place for one, at {lake.uri(name)}",
            remedy="check permissions and free space, then run it again",
        )

    race = Race(
        hold=lambda: lake.hold(name, create=change),
        failure=failure,
        conflict=lambda: CommitConflictError(f"the schema of {name} kept changing", remedy="run it again"),
        attempts=_ATTEMPTS,
    )

    def widened(table: DeltaTable) -> DeltaTable:
        missing = _missing_columns(name, arrow_schema(table), wanted)
        if not missing:
            return table
        table.alter.add_columns(_delta_fields(missing))
        raise SkippedError("its columns were added; what stands now is looked at again")

    try:
        return compare_and_swap(race, widened)
    except (DeltaError, OSError) as error:
        raise failure(error) from error


def _missing_columns(name: str, standing: pa.Schema, wanted: pa.Schema) -> list[pa.Field]:
    changed = [
        f"{field.name} is {standing.field(field.name).type}, the run writes {field.type}"
        for field in wanted
        if field.name in standing.names and not _same_type(standing.field(field.name).type, field.type)
    ]
    if changed:
        raise TableContractError(
            f"{name} holds other types than this run writes: {'; '.join(changed)}",
            expected="columns are added, never repurposed",
            remedy="give the output another name, or move the old table away",
        )
    return [field for field in wanted if field.name not in standing.names]


def _same_type(standing: pa.DataType, wanted: pa.DataType) -> bool:
    """True for types that Delta stores alike: texts of every size, lists whatever their items are called."""
    return pa.schema([("c", wanted)]) == pa.schema([("c", standing)]) or _delta_type(standing) == _delta_type(wanted)


def _delta_type(kind: pa.DataType) -> str:
    return _delta_fields([pa.field("c", kind)])[0].type.to_json()


def _delta_fields(fields: Sequence[pa.Field]) -> list[Field]:
    return list(Schema.from_arrow(pa.schema(fields)).fields)
