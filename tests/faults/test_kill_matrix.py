"""Each engine at each point: whatever dies there, the day is the old one or the new one, and the retry finishes it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psutil
import pytest
from synthetic import DAY
from twins import Twins

from tallywright.errors import EngineError, StorageError, TallyError
from tallywright.scoring import execution
from tallywright.scoring.commit import sink
from tallywright.scoring.commit.manifests import logged_tallies

from .conftest import ON_PRISM, WAYS, Start, Watch, Way, cell, gone

DRIVER_POINTS = ("staging", "staged", "verified", "before-commit", "committed", "tallied", "profiled")
WORKER_POINTS = ("scoring", "scored")
AFTER_COMMIT = frozenset({"committed", "tallied", "profiled"})
KILLS = int(os.environ.get("TALLYWRIGHT_KILLS", "12"))
FULL = KILLS > 12
MOMENTS = tuple(f"{random.Random(KILLS + n).uniform(0, 6):.3f}" for n in range(KILLS // 10 if FULL else 0))
"""Seconds after which slow drivers are killed wherever they are; `test_kills` does the same to `local`, more often."""

pytestmark = pytest.mark.slow


def kills() -> Iterator[Any]:
    """Each way at each point."""
    for way in (*WAYS, ON_PRISM):
        for point in (*DRIVER_POINTS, *WORKER_POINTS, *(MOMENTS if way.mark else ())):
            yield cell(way, point, long=point not in way.short)


@pytest.fixture
def again(request: pytest.FixtureRequest, start: Start) -> Callable[[Twins, Way], None]:
    """The retry, with the same engine, in this process unless it has a runner; then both worlds are compared."""
    if request.node.callspec.params["way"].runner:
        request.getfixturevalue("prism")

    def run(twins: Twins, way: Way) -> None:
        if way.runner:
            code, _, error = start("score", twins.killed, *way.arguments).ready().go().end()
            assert code == 0, error
        else:
            if way.mark:
                request.getfixturevalue(way.mark)
            twins.score(twins.killed, engine=way.engine, io=way.io)
        twins.check_equal()

    return run


def before_and_after(twins: Twins, way: Way = WAYS[0]) -> tuple[str, str]:
    """Both worlds have a tally, the first that of a way; the calm one has the next one too. Gives the contents."""
    twins.restate(0)
    twins.score(twins.killed, engine=way.engine, io=way.io)
    twins.score(twins.calm)
    old = twins.content(twins.calm)
    twins.restate(1)
    twins.score(twins.calm)
    return old, twins.content(twins.calm)


@pytest.mark.parametrize(("way", "point"), list(kills()))
def test_a_kill_leaves_the_old_day_or_the_new_one(
    way: Way, point: str, start: Start, twins: Twins, watch: Watch, again: Callable[..., None]
) -> None:
    marker = watch.marker
    driver = start("score", twins.killed, *way.arguments, **marker.environment(point))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    driver.ready().go()
    if point in MOMENTS:
        time.sleep(float(point))
        driver.process.kill()
    code, _, error = driver.end()
    if point in WORKER_POINTS and way.own_workers:
        # Whoever is left says so and stops, or finishes without the worker; nobody hangs or breaks down.
        assert code in (0, EngineError.exit_code), error
        assert "Traceback" not in error
    elif point in MOMENTS:
        assert code in (0, -signal.SIGKILL), error  # a fast run ends before its moment
    else:
        assert code == -signal.SIGKILL, error
    gone(marker.told())
    if point not in MOMENTS:
        assert marker.path.exists()
        assert twins.content(twins.killed) == (new if point in AFTER_COMMIT or code == 0 else old)
    again(twins, way)
    watch.saw(old, new)


@pytest.mark.parametrize("way", [cell(way, long=way.io == "engine") for way in WAYS if way.engine == "spark"])
def test_a_driver_that_loses_its_jvm_says_so_and_leaves_nobody_behind(
    way: Way, start: Start, twins: Twins, watch: Watch, again: Callable[..., None]
) -> None:
    marker = watch.marker
    driver = start("score", twins.killed, *way.arguments, **marker.environment("scored", hold=True))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    driver.ready().go()
    worker = marker.process()
    family = driver.family()
    (jvm,) = (process for process in family if process.name() == "java")
    jvm.kill()
    worker.resume()
    code, _, error = driver.end()
    assert code == EngineError.exit_code, error
    assert "to do:" in error
    assert "Traceback" not in error
    gone(family)
    assert twins.content(twins.killed) == old
    again(twins, way)
    watch.saw(old, new)


@pytest.mark.parametrize("way", [cell(way, long=way.engine == "spark") for way in WAYS if way.stages_parts])
def test_an_interrupted_driver_takes_away_what_its_workers_were_writing(
    way: Way, start: Start, twins: Twins, watch: Watch, again: Callable[..., None]
) -> None:
    marker = watch.marker
    driver = start("score", twins.killed, *way.arguments, **marker.environment("scored", hold=True))
    old, new = before_and_after(twins)
    files = twins.files()
    watch.driver.ready().go()
    driver.ready().go()
    worker = marker.process()  # its part is written, and it has not said so
    assert twins.files() > files
    driver.process.send_signal(signal.SIGINT)
    if not way.own_workers:
        worker.resume()  # it is the driver
    code, _, _ = driver.end()
    assert code != 0
    assert twins.files() == files
    assert twins.content(twins.killed) == old
    again(twins, way)
    watch.saw(old, new)


def once(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> None:
    """Does something at a point, the first time."""
    waiting = [act]

    def failpoint(passed: str) -> None:
        if passed == name and waiting:
            waiting.pop()()

    monkeypatch.setattr(execution, "failpoint", failpoint)
    monkeypatch.setattr(sink, "failpoint", failpoint)


@pytest.mark.parametrize(
    ("way", "point"), [cell(way, point) for way in WAYS if way.stages_parts for point in ("staged", "before-commit")]
)
def test_a_part_that_vanishes_is_missed_before_the_commit(
    way: Way, point: str, twins: Twins, again: Callable[..., None], monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    if way.mark:
        request.getfixturevalue(way.mark)
    old, _ = before_and_after(twins)
    files = twins.files()
    once(monkeypatch, point, lambda: (twins.files() - files).pop().unlink())
    with pytest.raises(StorageError, match="has no bytes"):
        twins.score(twins.killed, engine=way.engine, io=way.io)
    assert twins.content(twins.killed) == old
    assert twins.files() == files
    again(twins, way)


@pytest.mark.parametrize("way", [cell(way, long=way.io == "engine") for way in WAYS])
def test_a_commit_whose_answer_was_lost_stands_once(
    way: Way, twins: Twins, again: Callable[..., None], monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    if way.mark:
        request.getfixturevalue(way.mark)
    before_and_after(twins)
    module, name = (sink, "parts_writer") if way.stages_parts else (_native(), "rows_writer")
    write = getattr(module, name)

    def loses_answers(*arguments: Any) -> sink.Writer:
        writer = write(*arguments)

        def commit(*values: Any) -> None:
            writer(*values)
            raise OSError("connection reset") if way.stages_parts else EngineError("connection reset")

        return commit

    with monkeypatch.context() as patched:
        patched.setattr(module, name, loses_answers)
        outcome = twins.score(twins.killed, engine=way.engine, io=way.io)
    assert (outcome.action, outcome.manifest.generation) == ("committed", 2)
    again(twins, way)


def _native() -> ModuleType:
    from tallywright.scoring.engines.spark import native

    return native


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of our children may grow beyond this: what a full disk looks like from inside."""

    def limit(most: int) -> None:
        for process in psutil.Process().children(recursive=True):  # those that were started meanwhile, too
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, (most, psutil.RLIM_INFINITY))

    limit(size)
    try:
        yield
    finally:
        limit(psutil.RLIM_INFINITY)


@pytest.mark.parametrize("way", [cell(way, long=way.io == "engine") for way in WAYS if way.own_workers])
def test_a_full_disk_under_the_workers_changes_nothing(
    way: Way, twins: Twins, again: Callable[..., None], request: Any
) -> None:
    """A driver's own full disk: `test_races`."""
    request.getfixturevalue(way.mark)
    # The way has worked once: Java never again loads a library (snappy's) that it could not unpack at its first use.
    old, _ = before_and_after(twins, way)
    files = twins.files()
    with full_disk(4_000), pytest.raises(TallyError) as caught:
        twins.score(twins.killed, engine=way.engine, io=way.io)
    assert isinstance(caught.value, StorageError if way.stages_parts else EngineError)
    assert caught.value.retryable
    assert caught.value.remedy
    assert twins.content(twins.killed) == old
    assert not way.stages_parts or twins.files() == files
    again(twins, way)
    assert len(list(logged_tallies(twins.lake(twins.killed), twins.lake(twins.killed).open("shop__scores"), DAY))) == 2
