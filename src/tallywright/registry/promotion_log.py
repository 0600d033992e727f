"""The promotion log `<model>__promotions`: append-only and bitemporal, the one truth about who was champion when.

Lines are appended by compare-and-swap: a line is only written onto the version of the log that was read to make it,
so two writers can neither take one sequence number nor decide on a state that is no longer true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.delta.lake import Change, pause
from tallywright.errors import CommitConflictError
from tallywright.records import Promotion
from tallywright.registry import timeline

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
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

_ATTEMPTS: Final = 30

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
        return self._lines() if self._lake.exists(self._table) else []

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
        if not self._lake.exists(self._table) and propose([]) is None:
            return None
        for attempt in range(_ATTEMPTS):
            base = self._lake.handle(Change(self._table, SCHEMA.empty_table(), {}))
            entries = self._lines(base.version())
            proposed = propose(entries)
            if proposed is None:
                return None
            line = _sequenced(proposed, entries)
            data = pa.Table.from_pylist([line.model_dump()], schema=SCHEMA)
            try:
                self._lake.commit(Change(self._table, data, {"sequence": line.sequence}), base)
            except CommitConflictError:
                pause(attempt)
            else:
                return line
        raise CommitConflictError(
            f"{self._table}: other writers were faster {_ATTEMPTS} times",
            expected="one promotion or rollback of a model at a time",
            remedy="try again; `tally history` shows what the others did",
        )

    def _lines(self, version: int | None = None) -> list[Promotion]:
        rows = self._lake.read(self._table, columns=SCHEMA.names, version=version).to_pylist()
        return sorted((Promotion(**row) for row in rows), key=lambda line: line.sequence)


def _sequenced(line: Promotion, entries: Sequence[Promotion]) -> Promotion:
    recorded = max([line.recorded_at.astimezone(UTC), *(entry.recorded_at for entry in entries)])
    return line.model_copy(
        update={"sequence": max((entry.sequence for entry in entries), default=0) + 1, "recorded_at": recorded}
    )
