"""SIGKILL of the driver, a worker, Prism: nothing lives on, no row is seen, and the retry gives the same table."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from beam_world import BeamDay, beam_engine, make_day, on
from synthetic import make_features, read_scores

from tallywright.errors import EngineError
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import Engines

pytestmark = [pytest.mark.beam, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DRIVER = Path(__file__).parent.parent / "support" / "beam_driver.py"
ROWS = 50_000
"""In batches of 256 rows this takes a second or more: long enough to be killed in the middle."""


@pytest.fixture(scope="module")
def many_rows():
    return make_features(ROWS)


@pytest.fixture
def slow_day(tmp_path, package, many_rows) -> BeamDay:
    return make_day(tmp_path, package, many_rows)


@pytest.fixture
def driver(slow_day) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(runner: str, *options: str) -> subprocess.Popen[bytes]:
        arguments = [slow_day.lake.root, slow_day.package.folder, slow_day.pinned.to_json(), runner, *options]
        started.append(subprocess.Popen([sys.executable, DRIVER, *map(str, arguments)], stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(true: Callable[[], object], seconds: float = 300) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def staged(day: BeamDay) -> bool:
    return any(name.endswith(".parquet") for name in day.left)


def descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def is_prism(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.name() == "prism")
    return False


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not is_prism(process) and "harness" in " ".join(process.cmdline())
    return False


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def retried(day: BeamDay, runner: str, *options: str):
    """The table after the retry, and that of an undisturbed local run."""
    with Engines(on(runner, *options)) as engines:
        outcome = score_day(day.request(engines=engines))
    assert (outcome.action, outcome.manifest.generation, outcome.manifest.rows) == ("committed", 1, ROWS)
    ours = read_scores(day.lake, day.request().spec)
    score_day(day.request(engine="local", force=True))
    return ours, read_scores(day.lake, day.request().spec)


@pytest.mark.parametrize("runner", ["FnApiRunner", "PrismRunner"])
def test_a_killed_driver_takes_everything_with_it(runner, slow_day, driver, request) -> None:
    options = (f"--prism_location={request.getfixturevalue('prism')}",) if runner == "PrismRunner" else ()
    process = driver(runner, *options)
    until(lambda: staged(slow_day))
    others = descendants(process.pid)
    names = {other.name() for other in others}
    assert ("prism" in names) == (runner == "PrismRunner")
    assert runner == "FnApiRunner" or len(others) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(map(lives, others)), seconds=5)
    assert not any("_delta_log" in name for name in slow_day.left)
    ours, undisturbed = retried(slow_day, runner, *options)
    assert ours.equals(undisturbed)


@pytest.mark.parametrize("victim", ["worker", "prism"])
def test_a_lost_worker_or_prism_fails_the_day_at_once_and_the_engine_starts_anew(victim, slow_day, prism) -> None:
    settings = on("PrismRunner", f"--prism_location={prism}", "--sdk_worker_parallelism=2")
    strangers = set(descendants(os.getpid()))  # of other tests' engines in this process
    with Engines(settings) as engines:
        killed: list[psutil.Process] = []

        def wanted() -> list[psutil.Process]:
            mine = [one for one in descendants(os.getpid()) if one not in strangers]
            return [one for one in mine if is_prism(one) or (victim == "worker" and is_worker(one))]

        def kill() -> None:
            until(lambda: staged(slow_day) and wanted())
            process = next(one for one in wanted() if is_prism(one) == (victim == "prism"))
            killed.append(process)
            process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(EngineError, match=r"has ended with code|PrismRunner failed"):
            score_day(slow_day.request(engines=engines))
        killer.join()
        assert killed
        assert [name for name in slow_day.left if not name.endswith(".parquet")] == []
        outcome = score_day(slow_day.request(engines=engines))
        assert outcome.manifest.rows == ROWS
        assert beam_engine(engines).name == outcome.manifest.engine
    left = [one for one in descendants(os.getpid()) if one not in strangers]
    assert not [one for one in left if is_worker(one)]
