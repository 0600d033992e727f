"""The rule of the promotion log, pure, over its lines: who was champion, and whom a rollback brings back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from tallywright.records import Promotion

PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"


def _rank(line: Promotion) -> tuple[date, datetime, int]:
    return line.effective_from, line.recorded_at, line.sequence


def in_force(lines: Iterable[Promotion], day: date | None = None, known_at: datetime | None = None) -> list[Promotion]:
    """The lines effective on `day` (None: on any day) as known at `known_at` (None: now), the governing one last."""
    return sorted(
        (
            line
            for line in lines
            if (day is None or line.effective_from <= day) and (known_at is None or line.recorded_at <= known_at)
        ),
        key=_rank,
    )


def champion_on(lines: Iterable[Promotion], day: date | None, known_at: datetime | None = None) -> Promotion | None:
    """The champion of a date, as known at an instant; the champion of the latest date of all when `day` is None."""
    governing = in_force(lines, day, known_at)
    return governing[-1] if governing else None


def not_withdrawn(lines: Iterable[Promotion], day: date | None = None) -> list[Promotion]:
    """The champions that have not been withdrawn by `day`, the one in production last.

    A rollback withdraws every champion after the one it brings back, so that a second rollback goes further back
    instead of returning to a model that was taken out of production.
    """
    stack: list[Promotion] = []
    for line in in_force(lines, day):
        if line.action == ROLLBACK:
            while stack and not same_model(stack[-1], line):
                stack.pop()
        if stack and same_model(stack[-1], line):
            stack[-1] = line
        else:
            stack.append(line)
    return stack


def previous(lines: Sequence[Promotion], day: date | None = None) -> Promotion | None:
    """The champion that a rollback effective on `day` would bring back."""
    stack = not_withdrawn(lines, day)
    return stack[-2] if len(stack) > 1 else None


def same_model(one: Promotion, other: Promotion) -> bool:
    """True when both lines speak of the same immutable model version."""
    return (one.model_version, one.package_digest) == (other.model_version, other.package_digest)
