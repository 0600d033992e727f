"""The garbage collector, kept away from what stays."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def nothing_collected() -> Iterator[None]:
    """For what makes many objects that the process keeps to its end: to look through them again and again is dear.

    They are frozen afterwards, with all else that is there: the next look would cost as much as it saved.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collected:
            gc.enable()
