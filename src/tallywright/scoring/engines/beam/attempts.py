"""Attempts at splits that threads of this process make, so that the driver of a run can have them end.

A runner within the driver's process does not stop its threads when the driver is interrupted: what they write after
the driver took the parts of the run away would stay. Workers in processes of their own are ended by their runner.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_changed = Condition()
_attempts: Counter[str] = Counter()
_stopped: set[str] = set()


class StoppedError(Exception):
    """The run was given up by its driver."""


@contextmanager
def attempt(run: str) -> Iterator[None]:
    """Counts the block as an attempt of a run.

    Raises:
        StoppedError: The run was stopped.
    """
    with _changed:
        require_wanted(run)
        _attempts[run] += 1
    try:
        yield
    finally:
        with _changed:
            _attempts[run] -= 1
            _changed.notify_all()


def require_wanted(run: str) -> None:
    """Ends an attempt whose run was stopped.

    Raises:
        StoppedError: It was.
    """
    if run in _stopped:
        raise StoppedError(run)


def stop_attempts(run: str) -> None:
    """Has the attempts of a run end, and waits for them; none begins afterwards."""
    with _changed:
        _stopped.add(run)
        _changed.wait_for(lambda: not _attempts[run])
