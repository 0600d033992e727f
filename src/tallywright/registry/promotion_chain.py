"""The chain of the promotion log: each entry has the digest of its content and of the entry before it.

An entry that was changed, taken away, moved or put in later breaks the chain. What was cut off at the end is found by
the head, which another table keeps, and which can be kept elsewhere (`log_head.py`). Entries of before have no digest:
the first one with a digest hashes all before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from tallywright.data.delta.table import Declaration, Kind
from tallywright.records import Decision, Promotion, Record, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class HeadRow(Record):
    """One row of `<model>__heads`: the newest entry of a log, as it was appended."""

    log: str
    sequence: int
    digest: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class LogProblem:
    """One thing that is wrong with a log: the number of the entry, and what."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"entry {self.line} {self.what}"


HEADS: Final = Declaration(
    what="heads",
    record=HeadRow,
    key=("log",),
    slice=("log",),
    kind=Kind.SLICE,
    doc="the newest entry of the promotion log and its digest, kept beside it: a log that was cut off is found",
)
PROMOTION_LOG: Final = "promotions"
PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"
_DECIDED: Final = frozenset({PROMOTE, ROLLBACK})
"""The actions whose entry is about the version that its decision names."""
_MOVED_BY: Final = 2
"""How many places away an entry that is in the wrong place is looked for."""


def sealed(entry: Promotion, entries: Sequence[Promotion]) -> Promotion:
    """The entry with the digests of its evidence and of itself, as it follows these entries."""
    entry = entry.model_copy(update={"evidence": evidence_digest(entry)})
    return entry.model_copy(update={"digest": _digest(entry, entries)})


def evidence_digest(entry: Promotion) -> str:
    """The digest of what an entry rests on: the decision with its reports, who answered, how they are known, why."""
    return digest_of([entry.decision_json, entry.answer_json, entry.approver, entry.authentication, entry.reason])


def asked_of(entry: Promotion) -> str:
    """The digest of what an entry was asked for: what, from when, by whom and why, never when.

    The target of a rollback is the log's to find, so it is no part of the request.
    """
    model = [] if entry.action == ROLLBACK else [entry.model_version, entry.package_digest]
    return digest_of([entry.action, entry.effective_from, entry.approver, entry.reason, *model])


def head_of(entry: Promotion) -> HeadRow:
    """The entry as the newest one of the log."""
    return HeadRow(log=PROMOTION_LOG, sequence=entry.sequence, digest=entry.digest, recorded_at=entry.recorded_at)


def chained_from(entries: Sequence[Promotion]) -> int | None:
    """The sequence of the first entry with a digest; None when there is none yet."""
    return next((entry.sequence for entry in entries if entry.digest), None)


def line_digests(entries: Sequence[Promotion]) -> list[str]:
    """What each entry hashes to as it stands; of entries of before, which are not chained, their content alone."""
    first = chained_from(entries)
    return [
        _digest(entry, entries[:place]) if first is not None and entry.sequence >= first else digest_of(_content(entry))
        for place, entry in enumerate(entries)
    ]


def head_digest(entries: Sequence[Promotion]) -> str:
    """The digest that stands for the whole log."""
    return entries[-1].digest or digest_of([_content(one) for one in entries])


def problems(entries: Sequence[Promotion], head: HeadRow | None) -> Iterator[LogProblem]:
    """Yields what is wrong with a log, in the order of its entries; nothing for a sound one.

    Args:
        entries: In the order of their numbers.
        head: The newest entry that is known from elsewhere.
    """
    first = chained_from(entries)
    before: list[Promotion] = []
    for entry in entries:
        expected = before[-1].sequence + 1 if before else 1
        if entry.sequence < expected:
            yield LogProblem(entry.sequence, f"(version {entry.model_version}) was put in: the number is taken")
            continue
        if entry.sequence > expected:
            last = "" if entry.sequence == expected + 1 else f", with all up to {entry.sequence - 1}"
            yield LogProblem(expected, f"is missing{last}: {entry.sequence} stands in its place")
        elif entry.evidence and not entry.digest:
            yield LogProblem(entry.sequence, f"(version {entry.model_version}) has lost its digest")
        elif first is not None and entry.sequence >= first and entry.digest != _digest(entry, before):
            yield LogProblem(entry.sequence, f"(version {entry.model_version}) {_difference(entry, entries)}")
        elif entry.evidence and entry.evidence != evidence_digest(entry):
            yield LogProblem(entry.sequence, f"(version {entry.model_version}) has other evidence than was recorded")
        yield from _undecided(entry)
        before.append(entry)
    if head is not None:
        yield from _cut(before, head)


def _cut(entries: Sequence[Promotion], head: HeadRow) -> Iterator[LogProblem]:
    """Yields what the recorded head says otherwise."""
    found = next((entry for entry in entries if entry.sequence == head.sequence), None)
    if found is None:
        yield LogProblem(head.sequence, f"is missing: the log ends with {entries[-1].sequence if entries else 0}")
    elif head.digest != found.digest:
        yield LogProblem(head.sequence, "is another one than was recorded")


def _difference(entry: Promotion, entries: Sequence[Promotion]) -> str:
    """What tells an entry from the one that was recorded, as far as its own digests say."""
    place = _recorded_place(entry, entries)
    if place is not None:
        return f"was recorded as entry {place}: entries were moved, put in or taken away"
    parts = [
        "reports, approver, answer or comment" if entry.evidence and entry.evidence != evidence_digest(entry) else "",
        "what was asked (action, version, date, approver, reason)"
        if entry.request and entry.request != asked_of(entry)
        else "",
    ]
    return f"is not what was recorded: {' and '.join(filter(None, parts)) or 'another field of it, or its digest'}"


def _recorded_place(entry: Promotion, entries: Sequence[Promotion]) -> int | None:
    """The number under which the entry, unchanged but for it, was recorded, where that was nearby; else None."""
    near = range(max(entry.sequence - _MOVED_BY, 1), entry.sequence + _MOVED_BY + 1)
    followed: list[list[Promotion]] = [[one] for one in entries if one.sequence + 1 in near and one.digest]
    for number in near:
        moved = entry.model_copy(update={"sequence": number})
        first: list[list[Promotion]] = [[]] if number == 1 else []
        if any(entry.digest == _digest(moved, before) for before in first + followed):
            return number
    return None


def _undecided(entry: Promotion) -> Iterator[LogProblem]:
    """Yields what the entry's decision says otherwise; nobody was ever promoted without one."""
    if entry.action not in _DECIDED:
        return
    if not entry.decision_json:
        yield LogProblem(entry.sequence, f"(version {entry.model_version}) has no decision of its gates")
        return
    try:
        decision = Decision.from_json(entry.decision_json)
    except ValidationError:
        yield LogProblem(entry.sequence, "has a decision that cannot be read")
        return
    if not decision.approved:
        yield LogProblem(entry.sequence, f"(version {entry.model_version}) has a decision that does not approve")
    named = (decision.model, decision.candidate_version, decision.candidate_digest)
    if named != (entry.model, entry.model_version, entry.package_digest):
        yield LogProblem(
            entry.sequence,
            f"names version {entry.model_version} ({entry.package_digest[:12]}), its decision "
            f"version {decision.candidate_version} ({decision.candidate_digest[:12]})",
        )


def _digest(entry: Promotion, before: Sequence[Promotion]) -> str:
    """The digest of an entry after those before it."""
    chained = before[-1].digest if before else ""
    return digest_of([chained or digest_of([_content(one) for one in before]), _content(entry)])


def _content(entry: Promotion) -> dict[str, object]:
    """What the digest covers; fields with their defaults are left out, so that a new field changes no digest."""
    return entry.model_dump(mode="json", exclude={"digest"}, exclude_defaults=True)
