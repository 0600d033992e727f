"""The promotion log `<model>__promotions`: append-only, bitemporal, the source of truth about the champion of a date.

Entries are appended by compare-and-swap: an entry is only written onto the version of the log that was read to make it,
so two writers can neither take one sequence number nor decide on a state that is no longer true. Who was champion of a
date, and whom a rollback brings back, are pure functions of the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import IntegrityError
from tallywright.observability import failpoint
from tallywright.records import Promotion
from tallywright.registry.promotion_chain import HEADS, PROMOTION_LOG, HeadRow, head_of, problems, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"
PROMOTIONS: Final = Declaration(
    what="promotions",
    record=Promotion,
    key=("sequence",),
    slice=("sequence",),
    kind=Kind.APPEND,
    doc="the promotion log: every promotion and rollback, effective from when and recorded when",
)
Proposal = Callable[[Sequence[Promotion]], Promotion | None]
"""Makes the next entry from those so far (the log assigns its sequence), or None when nothing is to be written."""


def _rank(entry: Promotion) -> tuple[date, datetime, int]:
    return entry.effective_from, entry.recorded_at, entry.sequence


def in_force(
    entries: Iterable[Promotion], day: date | None = None, known_at: datetime | None = None
) -> list[Promotion]:
    """The entries effective on `day` (None: on any day) as known at `known_at` (None: now), the one in force last."""
    return sorted(
        (
            entry
            for entry in entries
            if (day is None or entry.effective_from <= day) and (known_at is None or entry.recorded_at <= known_at)
        ),
        key=_rank,
    )


def champion_on(entries: Iterable[Promotion], day: date | None, known_at: datetime | None = None) -> Promotion | None:
    """The champion of a date, as known at an instant; the champion of the latest date of all when `day` is None."""
    governing = in_force(entries, day, known_at)
    return governing[-1] if governing else None


def not_withdrawn(entries: Iterable[Promotion], day: date | None = None) -> list[Promotion]:
    """The champions that have not been withdrawn by `day`, the one in production last.

    A rollback withdraws every champion after the one it brings back, so that a second rollback goes further back
    instead of returning to a model that was taken out of production.
    """
    stack: list[Promotion] = []
    for entry in in_force(entries, day):
        if entry.action == ROLLBACK:
            while stack and not same_model(stack[-1], entry):
                stack.pop()
        if stack and same_model(stack[-1], entry):
            stack[-1] = entry
        else:
            stack.append(entry)
    return stack


def previous(entries: Sequence[Promotion], day: date | None = None) -> Promotion | None:
    """The champion that a rollback effective on `day` would bring back."""
    stack = not_withdrawn(entries, day)
    return stack[-2] if len(stack) > 1 else None


def same_model(one: Promotion, other: Promotion) -> bool:
    """True when both entries speak of the same immutable model version."""
    return (one.model_version, one.package_digest) == (other.model_version, other.package_digest)


class PromotionLog:
    """The promotions of one model, read afresh at every call."""

    def __init__(self, lake: Lake, spec: ModelSpec) -> None:
        self._table = Table(PROMOTIONS, lake, spec)
        self._heads = Table(HEADS, lake, spec)
        self.model = spec.name

    def entries(self) -> list[Promotion]:
        """All entries in the order in which they were recorded; none when nothing was ever promoted.

        Raises:
            IntegrityError: An entry is missing, or is not what was recorded.
        """
        entries = self.stored()
        self._require_sound(entries)
        return entries

    def stored(self) -> list[Promotion]:
        """As `entries`, whether or not they are what was recorded."""
        return sorted(self._table.read(), key=lambda entry: entry.sequence)

    def problems(self) -> list[str]:
        """What is wrong with the log; nothing when it is what was recorded."""
        return list(problems(self.stored(), self._head()))

    def _head(self) -> HeadRow | None:
        return next(iter(self._heads.read({"log": PROMOTION_LOG})), None)

    def _require_sound(self, entries: Sequence[Promotion]) -> None:
        found = next(problems(entries, self._head()), "")
        if found:
            raise IntegrityError(
                f"the promotion log of {self.model} was changed: {found}",
                expected="entries as they were recorded, each with the digest of the one before",
                remedy=f"tally verify {self.model} --repair, or a backup; tally history {self.model} shows the log",
            )

    def champion_on(self, day: date, known_at: datetime | None = None) -> Promotion | None:
        """The champion of a date; with `known_at`, the one that the log named at that instant."""
        return champion_on(self.entries(), day, known_at)

    def current(self) -> Promotion | None:
        """The champion of the latest effective date of all."""
        return champion_on(self.entries(), None)

    def previous(self, day: date | None = None) -> Promotion | None:
        """The champion that a rollback effective on `day` would bring back."""
        return previous(self.entries(), day)

    def append(self, propose: Proposal) -> Promotion | None:
        """Appends the entry that `propose` makes from the log as it stands.

        `propose` is asked again whenever another writer was faster. It may raise to refuse. The log assigns
        `sequence`, and `recorded_at` never runs backwards, however the clocks of two machines differ.

        Returns:
            The entry as written, or None when `propose` gave none.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The log cannot be written.
            IntegrityError: The log is not what was recorded.
        """

        def sequenced(rows: list[Promotion]) -> Promotion | None:
            entries = sorted(rows, key=lambda entry: entry.sequence)
            self._require_sound(entries)
            proposed = propose(entries)
            return None if proposed is None else sealed(_sequenced(proposed, entries), entries)

        written = self._table.append(sequenced)
        if written is not None:
            failpoint("promotion-appended")
            self._heads.replace([head_of(written)])
        return written


def _sequenced(entry: Promotion, entries: Sequence[Promotion]) -> Promotion:
    recorded = max([entry.recorded_at.astimezone(UTC), *(entry.recorded_at for entry in entries)])
    return entry.model_copy(
        update={"sequence": max((entry.sequence for entry in entries), default=0) + 1, "recorded_at": recorded}
    )
