"""The promotion log `<model>__promotions`: append-only and bitemporal, the one truth about who was champion when.

Lines are appended by compare-and-swap: a line is only written onto the version of the log that was read to make it,
so two writers can neither take one sequence number nor decide on a state that is no longer true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.declaration import Declaration, Kind
from tallywright.data.delta.table import Table
from tallywright.records import Promotion
from tallywright.registry import timeline

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

PROMOTIONS: Final = Declaration(
    what="promotions",
    record=Promotion,
    key=("sequence",),
    slice=("sequence",),
    kind=Kind.APPEND,
    doc="who was champion from when on, as known when: every promotion and rollback",
)

Proposal = Callable[[Sequence[Promotion]], Promotion | None]
"""Makes the next line from the lines so far (the log assigns its sequence), or None when nothing is to be written."""


class PromotionLog:
    """The promotions of one model, read afresh at every call."""

    def __init__(self, lake: Lake, spec: ModelSpec) -> None:
        self._table = Table(PROMOTIONS, lake, spec)
        self.model = spec.name

    def entries(self) -> list[Promotion]:
        """All lines in the order in which they were recorded; none when nothing was ever promoted."""
        return sorted(self._table.read(), key=lambda line: line.sequence)

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

        def sequenced(rows: list[Promotion]) -> Promotion | None:
            entries = sorted(rows, key=lambda line: line.sequence)
            proposed = propose(entries)
            return None if proposed is None else _sequenced(proposed, entries)

        return self._table.append(sequenced)


def _sequenced(line: Promotion, entries: Sequence[Promotion]) -> Promotion:
    recorded = max([line.recorded_at.astimezone(UTC), *(entry.recorded_at for entry in entries)])
    return line.model_copy(
        update={"sequence": max((entry.sequence for entry in entries), default=0) + 1, "recorded_at": recorded}
    )
