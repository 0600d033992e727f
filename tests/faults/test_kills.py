"""SIGKILL at every named point and at random moments: after the retry the table is as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from .test_kill_matrix import DRIVER_POINTS as POINTS

KILLS = int(os.environ.get("TALLYWRIGHT_KILLS", "12"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_runs_leave_the_old_tally_or_the_new_one_and_the_retry_finishes(start, twins, watch) -> None:
    watch.driver.ready().go()
    moments = random.Random(KILLS)
    generations = ["nothing"]
    longest = 0.5
    plan = [POINTS[attempt] if attempt < len(POINTS) else "" for attempt in range(KILLS)]
    waiting = start("score", twins.killed, TALLYWRIGHT_KILL_AT=plan[0])
    for attempt, point in enumerate(plan):
        twins.restate(attempt)
        victim = waiting.ready().go()
        began = time.monotonic()
        if not point:
            time.sleep(moments.uniform(0, longest))
            victim.process.kill()
        code = victim.process.wait(timeout=60)
        assert code == -signal.SIGKILL or not point, victim.end()
        if point == POINTS[-1]:
            longest = time.monotonic() - began
        if attempt + 1 < KILLS:
            waiting = start("score", twins.killed, TALLYWRIGHT_KILL_AT=plan[attempt + 1])
        twins.score(twins.killed)
        twins.score(twins.calm)
        twins.check_equal()
        generations.append(twins.content(twins.calm))
    watch.saw(*generations)  # never a part of a day, and never an older one again
