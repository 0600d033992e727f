"""How long calls to a package take, by their number of rows, and the memory that it needed meanwhile."""

from __future__ import annotations

import math
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CALLS: Final = {1: 200, 1_000: 100, 100_000: 20}
"""Rows of a call to how many are timed at most."""
_SECONDS: Final = 1.0
"""For each number of rows: a slow model is timed by fewer calls, the slowest by one."""
PERCENTILES: Final = (50, 95, 99)


def time_calls(call: Callable[[], object], most: int) -> list[float]:
    """Milliseconds of each call; the first one is not counted unless it takes all the time there is."""
    times = [_milliseconds(call)]
    if times[0] >= 1000 * _SECONDS:
        return times
    while len(times) <= most and sum(times) < 1000 * _SECONDS:
        times.append(_milliseconds(call))
    return times[1:]


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def percentile(times: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile: a time that was measured, the largest one where there are few."""
    return sorted(times)[math.ceil(percent / 100 * len(times)) - 1]


def peak_megabytes() -> float:
    """The most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the parent's ru_maxrss down to a child; VmHWM counts this program alone.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
