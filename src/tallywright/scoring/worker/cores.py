"""How many threads a day may use on this machine."""

from __future__ import annotations

import os


def threads_for(wanted: int, pieces: int) -> int:
    """As many as asked for, or one for each core this process may use; never more than there are pieces of work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, pieces))
