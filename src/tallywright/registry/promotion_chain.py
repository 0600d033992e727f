"""The chain of the promotion log: each entry has the digest of its content and of the entry before it.

An entry that was changed, taken away or put in later breaks the chain. What was cut off at the end is found by the
head, which another table keeps. Entries of before have no digest: the first one with a digest hashes all before it.
"""

from __future__ import annotations

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


HEADS: Final = Declaration(
    what="heads",
    record=HeadRow,
    key=("log",),
    slice=("log",),
    kind=Kind.SLICE,
    doc="the newest entry of the promotion log and its digest, kept beside it: a log that was cut off is found",
)
PROMOTION_LOG: Final = "promotions"
_DECIDED: Final = frozenset({"promote", "rollback"})
"""The actions whose entry is about the version that its decision names."""


def sealed(entry: Promotion, entries: Sequence[Promotion]) -> Promotion:
    """The entry with its digest, as it follows these entries."""
    return entry.model_copy(update={"digest": _digest(entry, entries)})


def head_of(entry: Promotion) -> HeadRow:
    """The entry as the newest one of the log."""
    return HeadRow(log=PROMOTION_LOG, sequence=entry.sequence, digest=entry.digest, recorded_at=entry.recorded_at)


def chained_from(entries: Sequence[Promotion]) -> int | None:
    """The sequence of the first entry with a digest; None when there is none yet."""
    return next((entry.sequence for entry in entries if entry.digest), None)


def problems(entries: Sequence[Promotion], head: HeadRow | None) -> Iterator[str]:
    """Yields what is wrong with a log, in the order of its entries; nothing for a sound one.

    Args:
        entries: In the order in which they were recorded.
        head: The newest entry that is known from elsewhere.
    """
    first = chained_from(entries)
    for place, entry in enumerate(entries):
        if entry.sequence != place + 1:
            yield f"entry {place + 1} is missing: {entry.sequence} stands in its place"
            return
        if first is not None and entry.sequence >= first and entry.digest != _digest(entry, entries[:place]):
            yield f"entry {entry.sequence} (version {entry.model_version}) is not what was recorded"
        yield from _undecided(entry)
    if head is None:
        return
    if head.sequence > len(entries):
        yield f"entry {head.sequence} is missing: the log ends with {len(entries)}"
    elif head.digest != entries[head.sequence - 1].digest:
        yield f"entry {head.sequence} is another one than was recorded"


def _undecided(entry: Promotion) -> Iterator[str]:
    """Yields what the entry's decision says otherwise; nobody was ever promoted without one."""
    if entry.action not in _DECIDED:
        return
    if not entry.decision_json:
        yield f"entry {entry.sequence} (version {entry.model_version}) has no decision of its gates"
        return
    try:
        decision = Decision.from_json(entry.decision_json)
    except ValidationError:
        yield f"the decision of entry {entry.sequence} cannot be read"
        return
    if not decision.approved:
        yield f"entry {entry.sequence} (version {entry.model_version}) has a decision that does not approve"
    named = (decision.model, decision.candidate_version, decision.candidate_digest)
    if named != (entry.model, entry.model_version, entry.package_digest):
        yield (
            f"entry {entry.sequence} names version {entry.model_version} ({entry.package_digest[:12]}), its decision "
            f"version {decision.candidate_version} ({decision.candidate_digest[:12]})"
        )


def _digest(entry: Promotion, before: Sequence[Promotion]) -> str:
    """The digest of an entry after those before it."""
    chained = before[-1].digest if before else ""
    return digest_of([chained or digest_of([_content(one) for one in before]), _content(entry)])


def _content(entry: Promotion) -> dict[str, object]:
    """What the digest covers; fields with their defaults are left out, so that a new field changes no digest."""
    return entry.model_dump(mode="json", exclude={"digest"}, exclude_defaults=True)
