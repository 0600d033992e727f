"""The promotion log `<model>__promotions`: append-only and bitemporal, the one truth about who was champion when.

Lines are appended by compare-and-swap: a line is only written onto the version of the log that was read to make it,
so two writers can neither take one sequence number nor decide on a state that is no longer true.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from tallywright.data.contract import TABLE_PROPERTIES
from tallywright.errors import CommitConflictError, StorageError
from tallywright.records import Promotion
from tallywright.registry import timeline

if TYPE_CHECKING:
    from tallywright.data.lake import Lake
    from tallywright.spec import ModelSpec

SCHEMA: Final = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("action", pa.string()),
        pa.field("model_version", pa.int64()),
        pa.field("package_digest", pa.string()),
        pa.field("trained_through", pa.date32()),
        pa.field("effective_from", pa.date32()),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC")),
        pa.field("approver", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("decision_json", pa.string()),
    ]
)

_ATTEMPTS: Final = 12

Proposal = Callable[[Sequence[Promotion]], Promotion | None]
"""Makes the next line from the lines so far (the log assigns its sequence), or None when nothing is to be written."""


class PromotionLog:
    """The promotions of one model, read afresh at every call."""

    def __init__(self, lake: Lake, spec: ModelSpec) -> None:
        self._lake = lake
        self._table = spec.table("promotions")
        self.model = spec.name

    def entries(self) -> list[Promotion]:
        """All lines in the order in which they were recorded; none when nothing was ever promoted."""
        return self._read()[0]

    def champion_on(self, day: date, known_at: datetime | None = None) -> Promotion | None:
        """The champion of a date; with `known_at`, the one that the log named at that instant."""
        return timeline.champion_on(self.entries(), day, known_at)

    def current(self) -> Promotion | None:
        """The champion of the latest effective date of all."""
        return timeline.champion_on(self.entries(), None)

    def previous(self, day: date | None = None) -> Promotion | None:
        """The champion that a rollback effective on `day` would bring back."""
        return timeline.previous(self.entries(), day)

    def append(self, propose: Proposal) -> Promotion | None:
        """Appends the line that `propose` makes from the log as it stands.

        `propose` is asked again whenever another writer was faster. It may raise to refuse. The log assigns
        `sequence`, and `recorded_at` never runs backwards, however the clocks of two machines differ.

        Returns:
            The line as written, or None when `propose` gave none.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The log cannot be written.
        """
        for attempt in range(_ATTEMPTS):
            entries, handle = self._read()
            proposed = propose(entries)
            if proposed is None:
                return None
            line = _sequenced(proposed, entries)
            if self._write(handle, line):
                return line
            time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))
        raise CommitConflictError(
            f"{self._table}: other writers were faster {_ATTEMPTS} times",
            expected="one promotion or rollback of a model at a time",
            remedy="try again; `tally history` shows what the others did",
        )

    def _read(self) -> tuple[list[Promotion], DeltaTable | None]:
        if not self._lake.exists(self._table):
            return [], None
        handle = self._lake.open(self._table)
        rows = self._lake.read(self._table, version=handle.version()).to_pylist()
        return sorted((_line(row) for row in rows), key=lambda line: line.sequence), handle

    def _write(self, handle: DeltaTable | None, line: Promotion) -> bool:
        """True when the line was written, False when another writer was faster."""
        data = pa.Table.from_pylist([line.model_dump()], schema=SCHEMA)
        try:
            write_deltalake(
                handle if handle is not None else self._create(),
                data,
                mode="append",
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except CommitFailedError:
            return False
        except (DeltaError, OSError) as error:
            raise StorageError(
                f"{self._table} cannot be written: {error}",
                expected=f"a writable lake at {self._lake.uri(self._table)}",
                remedy="check permissions and free space, then try again",
            ) from error
        return True

    def _create(self) -> DeltaTable:
        """An empty log at version 0; another writer's, if it came first, still loses the swap when it has lines."""
        uri, options = self._lake.uri(self._table), self._lake.options
        return DeltaTable.create(
            uri, schema=SCHEMA, mode="ignore", configuration=dict(TABLE_PROPERTIES), storage_options=options or None
        )


def _sequenced(line: Promotion, entries: Sequence[Promotion]) -> Promotion:
    recorded = max([line.recorded_at.astimezone(UTC), *(entry.recorded_at for entry in entries)])
    return line.model_copy(
        update={"sequence": max((entry.sequence for entry in entries), default=0) + 1, "recorded_at": recorded}
    )


def _line(row: dict[str, Any]) -> Promotion:
    return Promotion(**{name: row[name] for name in SCHEMA.names})
