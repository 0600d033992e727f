"""The head of the promotion log, kept elsewhere: with it, a log that was cut or written anew is found.

Whoever may write the lake may also write a new log with a sound chain, and the head that stands beside it. What was
printed and kept out of their reach says what the log held; it holds a digest for each entry, so that a comparison says
from which entry on the log differs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - a field's type
from typing import TYPE_CHECKING, Final

from pydantic import Field, ValidationError

from tallywright.errors import GateRefusedError, IntegrityError, UsageError
from tallywright.records import Promotion, StoredRecord
from tallywright.registry.approval.authentication import name_of_key, sign, verified
from tallywright.registry.promotion_chain import LogProblem, head_digest, line_digests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PURPOSE: Final = "tallywright promotion log head 1"
_HEAD: Final = re.compile(r"([1-9][0-9]{0,8}):([0-9a-f]{64})")
_MOST_BYTES: Final = 64 * 2**20


class KeptHead(StoredRecord):
    """The newest entry of a model's log with the digest of each entry; signed where there is a signature."""

    model: str
    sequence: int = Field(ge=1)
    digest: str
    recorded_at: datetime
    lines: tuple[str, ...]
    signed_by: str = ""
    signature: str = ""

    @property
    def by(self) -> str:
        """Who signs."""
        return self.signed_by

    @property
    def statement(self) -> bytes:
        """What is signed."""
        return json.dumps([_PURPOSE, self.model_dump(mode="json", exclude={"signature"})], sort_keys=True).encode()

    @property
    def short(self) -> str:
        """The head in one word, without the digests of the entries before it."""
        return f"{self.sequence}:{self.digest}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a log is compared with: its newest entry, and where they are known the digests of all entries."""

    sequence: int
    digest: str
    lines: tuple[str, ...] = ()


def head_to_keep(entries: Sequence[Promotion]) -> KeptHead:
    """The head of a sound log with at least one entry."""
    newest = entries[-1]
    return KeptHead(
        model=newest.model,
        sequence=newest.sequence,
        digest=head_digest(entries),
        recorded_at=newest.recorded_at,
        lines=tuple(line_digests(entries)),
    )


def signed_head(head: KeptHead, file: Path, keys: Mapping[str, str]) -> KeptHead:
    """The head, signed with a private key that the spec names.

    Raises:
        UsageError: The key cannot be used.
        GateRefusedError: The spec names no such key, so that nobody could tell later whose signature it is.
    """
    name = name_of_key(file, keys)
    if not name:
        raise GateRefusedError(
            f"registry.approver_keys does not name the key {file}",
            expected=f"the key of {', '.join(sorted(keys)) or 'somebody whom registry.approver_keys names'}",
            remedy="sign with one of these, or let the spec name its public half",
        )
    head = head.model_copy(update={"signed_by": name})
    return head.model_copy(update={"signature": sign(head, file)})


def read_head(file: Path, model: str, keys: Mapping[str, str]) -> KeptHead:
    """A head that was kept; its signature, where it has one, is verified.

    Raises:
        UsageError: The file holds no head of this model's log.
        IntegrityError: It is not what was signed, or signed by nobody whom the spec names.
    """
    try:
        with file.open("rb") as stream:
            head = KeptHead.from_json(stream.read(_MOST_BYTES).decode("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no head"
        raise UsageError(
            f"{file} cannot be read: {why}", expected="what `tally history --head --json` printed"
        ) from error
    if head.model != model:
        raise UsageError(f"{file} is the head of {head.model}", expected=f"a head of {model}")
    if head.signature or head.signed_by:
        _require_signature(head, file, keys)
    return head


def expected_head(text: str) -> Expected:
    """The head that `tally history --head` shows, as it is typed: `12:` and 64 hexadecimal digits.

    Raises:
        UsageError: It is none.
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text[:80]!r} is no head of a log", expected="NUMBER:DIGEST, as `tally history --head` shows"
        )
    return Expected(int(match[1]), match[2])


def difference(entries: Sequence[Promotion], kept: Expected) -> LogProblem | None:
    """The first entry in which a log differs from what was kept; None where it holds all of it.

    Entries that were appended since are no difference. Where only the head was kept, what was changed may be any entry
    up to it, and the problem says so.
    """
    lines = line_digests(entries)
    for line, (was, found) in enumerate(zip(kept.lines, lines, strict=False), start=1):
        if was != found:
            return LogProblem(line, "is another one than in the head that was kept: the log differs from there on")
    if kept.sequence > len(entries):
        return LogProblem(len(entries) + 1, f"is missing: the log had {kept.sequence} entries when its head was kept")
    if head_digest(entries[: kept.sequence]) != kept.digest:
        return LogProblem(
            kept.sequence, "is another one than the head that was kept: it, or one before it, was changed"
        )
    return None


def _require_signature(head: KeptHead, file: Path, keys: Mapping[str, str]) -> None:
    found = f"the head in {file} is signed by {head.signed_by!r}, whom registry.approver_keys does not name"
    if head.signed_by in keys:
        try:
            verified(head, head.signature, keys[head.signed_by])
        except GateRefusedError:
            found = f"the head in {file} is not what {head.signed_by!r} has signed"
        else:
            return
    raise IntegrityError(found, expected="a head as it was signed", remedy="compare with another copy of it")
