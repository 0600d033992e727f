"""What this process keeps of its memory: pauses of Python's garbage collector, and limits on what allocators hold.

Four allocators share a process: Python's and the C library's `malloc`, pyarrow's pool, and the jemalloc that is built
into delta-rs. Each keeps freed memory for its threads; over a range of days that adds up to more than what is in use.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_JEMALLOC: Final = "_RJEM_MALLOC_CONF"
"""The variable that the jemalloc of Rust libraries reads when it is loaded."""
_M_ARENA_MAX: Final = -8
"""glibc's `malloc.h`: arenas that `malloc` may make; by default eight a core, of up to 64 MB each."""
_ARENAS: Final = 2


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


def limit_allocators() -> None:
    """Limits what the allocators of this process keep; to be called before delta-rs is loaded and threads start.

    Few arenas, because each thread that waits for storage would get one of its own, and freed pages go back to the
    system at once. What the environment says about these allocators stands.
    """
    os.environ.setdefault(_JEMALLOC, f"narenas:{_ARENAS},dirty_decay_ms:0,muzzy_decay_ms:0")
    chosen = "MALLOC_ARENA_MAX" in os.environ or "malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if not chosen and (libc := _glibc()) is not None:
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def release_memory() -> None:
    """Collects garbage and gives memory that is not in use back to the system."""
    import pyarrow as pa

    gc.collect()
    pa.default_memory_pool().release_unused()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    """The C library where it is glibc; None elsewhere, whose allocators have no such switches."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
