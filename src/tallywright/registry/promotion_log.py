"""The promotion log `<model>__promotions`: append-only, bitemporal, the source of truth about the champion of a date.

Entries are appended by compare-and-swap: an entry is only written onto the version of the log that was read to make it,
so two writers can neither take one sequence number nor decide on a state that is no longer true. Who was champion of a
date, and whom a rollback brings back, are pure functions of the entries. Order comes from their sequence: the clocks of
the machines that wrote them only say when, as far as these clocks were right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import IntegrityError
from tallywright.observability import failpoint, log
from tallywright.records import Promotion
from tallywright.registry.promotion_chain import (
    HEADS,
    PROMOTE,
    PROMOTION_LOG,
    ROLLBACK,
    HeadRow,
    LogProblem,
    asked_of,
    head_of,
    problems,
    sealed,
)
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest, ModelRef
    from tallywright.spec import ModelSpec

WITHDRAW: Final = "withdraw"
"""Takes a version out of production for good. The entry names no champion; its date is not after any entry's of that
version, so that the entries in force on a date hold every withdrawal that matters there."""
APPROVE: Final = "approve"
REJECT: Final = "reject"
"""What an approver has answered about a version; neither makes or ends a champion."""
STAGE: Final = "stage"
RETURN: Final = "return"
"""Begins a stage of a challenger, and ends its trial; the champion stays who it is."""
PROMOTIONS: Final = Declaration(
    what="promotions",
    record=Promotion,
    key=("sequence",),
    slice=("sequence",),
    kind=Kind.APPEND,
    doc="the promotion log: every promotion, rollback, withdrawal, approval and rejection, every stage of a challenger "
    "and its return, effective from when and recorded when",
)
Proposal = Callable[[Sequence[Promotion]], Promotion | None]
"""Makes the next entry from those so far (the log assigns its sequence), or None when nothing is to be written."""


def _rank(entry: Promotion) -> tuple[date, int]:
    return entry.effective_from, entry.sequence


def position_at(entries: Iterable[Promotion], instant: datetime) -> int:
    """The newest sequence known at an instant: an entry that a later one followed by then was there before it."""
    return max((entry.sequence for entry in entries if entry.recorded_at <= instant), default=0)


def in_force(
    entries: Iterable[Promotion], day: date | None = None, known_at: datetime | None = None
) -> list[Promotion]:
    """The entries effective on `day` (None: on any day) as known at `known_at` (None: now), the one in force last."""
    found = list(entries)
    position = None if known_at is None else position_at(found, known_at)
    return sorted(
        (
            entry
            for entry in found
            if (day is None or entry.effective_from <= date_of(day))
            and (position is None or entry.sequence <= position)
        ),
        key=_rank,
    )


def champion_on(entries: Iterable[Promotion], day: date | None, known_at: datetime | None = None) -> Promotion | None:
    """The champion of a date, as known at an instant; the champion of the latest date of all when `day` is None."""
    standing = _standing(in_force(entries, day, known_at))
    return standing[-1] if standing else None


def champion_lines(entries: Iterable[Promotion]) -> list[Promotion]:
    """The entries that name a champion: promotions and rollbacks."""
    return [entry for entry in entries if entry.action in (PROMOTE, ROLLBACK)]


def withdrawals(entries: Iterable[Promotion]) -> dict[int, Promotion]:
    """The withdrawals that hold, by version; one that was promoted again afterwards is back."""
    found: dict[int, Promotion] = {}
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        if entry.action == WITHDRAW:
            found[entry.model_version] = entry
        elif entry.action == PROMOTE:
            found.pop(entry.model_version, None)
    return found


def not_withdrawn(entries: Iterable[Promotion], day: date | None = None) -> list[Promotion]:
    """The champions that have not been withdrawn by `day`, the one in production last.

    A rollback withdraws every champion after the one it brings back, so that a second rollback goes further back
    instead of returning to a model that was taken out of production; a withdrawal takes one version out wherever it is.
    """
    return _standing(in_force(entries, day))


def _standing(lines: Sequence[Promotion]) -> list[Promotion]:
    """The champions that are left of the entries in force, after rollbacks and withdrawals.

    A withdrawal voids the entries before it: the version may be promoted again, from that entry's date on.
    """
    gone = {entry.model_version: entry.sequence for entry in lines if entry.action == WITHDRAW}
    void = {entry.sequence for entry in lines if entry.sequence < gone.get(entry.model_version, 0)}
    stack: list[Promotion] = []
    for entry in champion_lines(lines):
        if entry.action == ROLLBACK:
            while stack and not (
                same_model(stack[-1], entry) and (stack[-1].sequence in void) == (entry.sequence in void)
            ):
                stack.pop()
        stack.append(entry)
    left: list[Promotion] = []
    for entry in (one for one in stack if one.sequence not in void):
        if left and same_model(left[-1], entry):
            left[-1] = entry
        else:
            left.append(entry)
    return left


def previous(entries: Sequence[Promotion], day: date | None = None) -> Promotion | None:
    """The champion that a rollback effective on `day` would bring back."""
    stack = not_withdrawn(entries, day)
    return stack[-2] if len(stack) > 1 else None


def same_model(one: Promotion, other: Promotion) -> bool:
    """True when both entries speak of the same immutable model version."""
    return (one.model_version, one.package_digest) == (other.model_version, other.package_digest)


def request_of(entry: Promotion) -> str:
    """The identity of the request that an entry answers: what was asked, by whom and why, never when."""
    return entry.request or asked_of(entry)


def answer_to(entries: Iterable[Promotion], request: str) -> Promotion | None:
    """The newest entry that answers a request; None when it was never answered."""
    found = [entry for entry in entries if request_of(entry) == request]
    return max(found, key=lambda entry: entry.sequence, default=None)


def superseded_by(entries: Iterable[Promotion], entry: Promotion) -> Promotion | None:
    """The entry that withdrew this one's model, or put another in its place on its own date; None where none did.

    Nothing supersedes an entry that makes nobody champion.
    """
    entries = list(entries)
    if not champion_lines([entry]):
        return None
    governing = champion_on(entries, entry.effective_from)
    for withdrawal in (one for one in entries if one.action == WITHDRAW and one.sequence > entry.sequence):
        if withdrawal.model_version == entry.model_version and (governing is None or not same_model(governing, entry)):
            return withdrawal
    return None if governing is None or same_model(governing, entry) else governing


def line_behind(entries: Iterable[Promotion], model: ModelRef, position: int | None) -> Promotion | None:
    """The entry by which a model scored, whatever was written after that position of the log.

    Args:
        entries: The log.
        model: As the tally has it.
        position: The newest sequence known to the tally.

    Returns:
        None for a model that no entry names.
    """
    wanted = (model.version, model.digest, model.effective_from)
    lines = sorted(
        (
            one
            for one in champion_lines(entries)
            if (one.model_version, one.package_digest, one.effective_from) == wanted
        ),
        key=_rank,
    )
    known = [line for line in lines if position is None or line.sequence <= position]
    return known[-1] if known else next(iter(lines), None)


def sequence_behind(entries: Sequence[Promotion], manifest: Manifest) -> int | None:
    """The position of the log at which a tally's models were resolved; of an older tally, the one at its commit.

    A log of the time when a clock that was ahead stamped every later line does not tell: then the lines that the models
    must have come from do.
    """
    if manifest.promotion_sequence is not None or not entries:
        return manifest.promotion_sequence
    committed = manifest.committed_at
    instant = committed.replace(tzinfo=UTC) if committed.tzinfo is None else committed
    position = position_at(entries, instant)
    lines = (line_behind(entries, model, position) for model in manifest.models)
    return max([position, *(line.sequence for line in lines if line is not None)])


def clock_jumps(entries: Iterable[Promotion], now: datetime) -> list[str]:
    """Describes each entry whose clock was behind that of an entry before it, or ahead of `now`."""
    found, latest = [], None
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        if latest is not None and entry.recorded_at < latest.recorded_at:
            found.append(_jump(entry, latest))
        if entry.recorded_at > now:
            found.append(f"line {entry.sequence} is recorded at {entry.recorded_at}, which is yet to come")
        if latest is None or entry.recorded_at > latest.recorded_at:
            latest = entry
    return found


def _jump(entry: Promotion, before: Promotion) -> str:
    return (
        f"line {entry.sequence} is recorded at {entry.recorded_at}, before line {before.sequence} "
        f"({before.recorded_at})"
    )


class PromotionLog:
    """The promotions of one model, read afresh at every call."""

    def __init__(self, lake: Lake, spec: ModelSpec) -> None:
        self._table = Table(PROMOTIONS, lake, spec)
        self._heads = Table(HEADS, lake, spec)
        self.model = spec.name
        self.lake, self.spec = lake, spec

    def entries(self) -> list[Promotion]:
        """All entries in the order in which they were recorded; none when nothing was ever promoted.

        Raises:
            IntegrityError: An entry is missing, or is not what was recorded.
        """
        head = self._head()  # before the entries: an entry is there before it is the head
        entries = self.stored()
        self._require_sound(entries, head)
        return entries

    def stored(self) -> list[Promotion]:
        """As `entries`, whether or not they are what was recorded."""
        return sorted(self._table.read(), key=lambda entry: entry.sequence)

    def readable(self, unread: list[LogProblem] | None = None) -> list[Promotion]:
        """As `stored`, without the rows that are no entries, which are added to `unread`."""
        found = []
        for row in self._table.rows():
            try:
                found.append(PROMOTIONS.record_of(row))
            except IntegrityError as error:
                if unread is not None:
                    unread.append(LogProblem(row.get("sequence") or 0, f"cannot be read: {error.found}"))
        return sorted(found, key=lambda entry: entry.sequence)

    def problems(self) -> list[LogProblem]:
        """What is wrong with the log; nothing when it is what was recorded."""
        head = self._head()
        unread: list[LogProblem] = []
        entries = self.readable(unread)
        missing = {problem.line for problem in unread}
        return unread + [one for one in problems(entries, head) if one.line not in missing]

    def _head(self) -> HeadRow | None:
        return next(iter(self._heads.read({"log": PROMOTION_LOG})), None)

    def _require_sound(self, entries: Sequence[Promotion], head: HeadRow | None) -> None:
        found = next(problems(entries, head), None)
        if found is not None:
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
        `sequence`; `recorded_at` stays what the writer's clock showed, and a clock that went back is said.

        Returns:
            The entry as written, or None when `propose` gave none.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The log cannot be written.
            IntegrityError: The log is not what was recorded.
        """
        head = self._head()  # before any attempt reads the entries, of which it is one

        def sequenced(rows: list[Promotion]) -> Promotion | None:
            entries = sorted(rows, key=lambda entry: entry.sequence)
            self._require_sound(entries, head)
            proposed = propose(entries)
            return None if proposed is None else sealed(_sequenced(proposed, entries), entries)

        written = self._table.append(sequenced)
        if written is not None:
            failpoint("promotion-appended")
            self._record(written)
            failpoint("head-recorded")
        else:
            self.record_head()  # a writer that was killed after its entry is asked again, and has nothing to write
        return written

    def record_head(self) -> None:
        """Records the newest entry as the head where none, or an older one, is recorded.

        Raises:
            TallyError: As `entries` and `append`.
        """
        entries, head = self.entries(), self._head()
        if entries and entries[-1].digest and (head is None or head.sequence < entries[-1].sequence):
            self._record(entries[-1])

    def _record(self, entry: Promotion) -> None:
        self._heads.replace([head_of(entry)], outdated=lambda _: self._why_not_head(entry))

    def _why_not_head(self, entry: Promotion) -> str:
        """Why an entry is not the head: another writer's later one is; empty when it is."""
        head = self._head()
        return "" if head is None or head.sequence < entry.sequence else f"the head is entry {head.sequence} already"


def _sequenced(entry: Promotion, entries: Sequence[Promotion]) -> Promotion:
    sequence = max((entry.sequence for entry in entries), default=0) + 1
    made = entry.model_copy(update={"sequence": sequence, "recorded_at": entry.recorded_at.astimezone(UTC)})
    made = made.model_copy(update={"request": request_of(made)})
    latest = max(entries, key=lambda entry: entry.recorded_at, default=None)
    if latest is not None and made.recorded_at < latest.recorded_at:
        log.warning("a clock has jumped: %s; the order is that of the sequence", _jump(made, latest))
    return made
