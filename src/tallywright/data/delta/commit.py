"""The one way to commit beside other writers: look, decide on what stands, commit once, and on a lost race look again.

delta-rs must not retry on its own, because its retries accept stale overwrites: every commit inside an attempt is made
with `max_commit_retries=0`, on the very handle that was decided on.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from deltalake.exceptions import CommitFailedError

from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from deltalake import DeltaTable

ATTEMPTS: Final = 60
"""Writers of other days make us look again too: enough for a wide backfill."""

T = TypeVar("T")


class LostRaceError(Exception):
    """A commit failed, and nothing of it stands; the text says what delta-rs (or the engine that wrote) had to say."""


class SkippedError(LostRaceError):
    """The writer left the commit out because its transaction is recorded already: another one's stands."""


@dataclass(frozen=True, slots=True)
class Race:
    """A table that others write too.

    Attributes:
        hold: Gives a handle on the newest version for one attempt alone; may make the table where it is missing.
        failure: The error for a commit that failed although nobody else committed.
        conflict: The error for a race that was lost each time.
        attempts: How often it is tried.
    """

    hold: Callable[[], AbstractContextManager[DeltaTable]]
    failure: Callable[[Exception], Exception]
    conflict: Callable[[], Exception]
    attempts: int = ATTEMPTS


def compare_and_swap(race: Race, attempt: Callable[[DeltaTable], T]) -> T:
    """What `attempt` returns, asked with the newest version until its commit is not beaten by another writer's.

    Args:
        race: The table, and the errors in its own words.
        attempt: Decides from the state of the handle: returns without a commit when there is nothing to do, or commits
            on it and returns. It says with `CommitFailedError` or `LostRaceError` that its commit failed.

    Raises:
        Exception: `race.failure` for a commit that fails alone, `race.conflict` after the last attempt, and whatever
            else `attempt` raises.
    """
    for number in range(race.attempts):
        with race.hold() as table:
            version = table.version()
            try:
                return attempt(table)
            except (CommitFailedError, LostRaceError) as error:
                lost = error
        _require_loss(race, version, lost)
        log.debug("%s: attempt %d lost a race: %s", table.table_uri, number + 1, lost)
        pause(number)
    raise race.conflict()


def _require_loss(race: Race, version: int, lost: Exception) -> None:
    """Where nobody else committed, what failed is the storage."""
    if isinstance(lost, SkippedError):
        return
    with race.hold() as table:
        if table.version() == version:
            raise race.failure(lost) from lost


def pause(attempt: int) -> None:
    """Waits a short random time, longer with each attempt, so that two writers do not meet again."""
    time.sleep(random.uniform(0.5, 1.5) * min(0.5, 0.005 * 1.4**attempt))
