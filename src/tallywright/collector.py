"""Pauses Python's garbage collector while objects are made that live as long as the process."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pauses collection in the block, and excludes what is there afterwards from later collections.

    For imports and for DAGs: nothing of them is garbage, and every collection would walk through all of it again.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collected:
            gc.enable()
