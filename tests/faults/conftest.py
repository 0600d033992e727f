"""Processes that score, so that tests can kill them, and the ways of scoring that must survive it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from sparks import BRIEF_JVM
from twins import Twins

from tallywright.scoring.worker.fragments import plan_splits

DRIVER = Path(__file__).parent / "driver.py"


@dataclass(frozen=True, slots=True)
class Way:
    """An engine, and who moves the rows."""

    engine: str
    io: str = "auto"
    runner: str = ""
    """Beam's, if it is not the one that runs in the driver's process."""
    short: tuple[str, ...] = ()
    """The points at which `make test` kills it; at the others `make test-full` does."""
    mark: str = ""
    """The mark of tests that start it; a test asks for the fixture of this name before it scores in its own process."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What its driver process is told."""
        runner = ("--runner", self.runner) if self.runner else ()
        return ("--engine", self.engine, "--io", self.io, "--part-rows", "1000", *runner)

    @property
    def stages_parts(self) -> bool:
        """The driver commits parts that workers left in the table's folder."""
        return self.io != "engine"

    @property
    def own_workers(self) -> bool:
        """Workers are other processes than the driver; Beam's own runner has threads."""
        return self.engine == "spark" or bool(self.runner)

    def __str__(self) -> str:
        return "-".join(filter(None, (self.engine, self.io if self.io != "auto" else "", self.runner)))


WAYS = (
    Way("local", short=("scoring", "scored")),  # and at all other points in `test_kills`
    Way("spark", "direct", short=("scored",), mark="spark"),
    Way("spark", "engine", mark="spark"),  # what commits is the driver, as with direct
    Way("beam", short=("staged",), mark="beam"),
)
ON_PRISM = Way("beam", runner="PrismRunner", short=("committed",), mark="beam")
"""Its driver at the points of the protocol; while it stages, its workers and Prism itself: `tests/beam`."""


def cell(way: Way, *others: object, long: bool = False) -> Any:
    """Parameters of a test: a way, and more."""
    marks = [getattr(pytest.mark, way.mark), pytest.mark.filterwarnings("ignore")] if way.mark else []
    marks += [pytest.mark.long] * long
    return pytest.param(way, *others, id="-".join(map(str, (way, *others))), marks=marks)


class Driver:
    """One driver process; `go` lets it begin once it is ready."""

    def __init__(self, arguments: tuple[object, ...], environment: dict[str, str], script: Path = DRIVER) -> None:
        own = BRIEF_JVM if "spark" in arguments else {} if "beam" in arguments else {"PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin"} | own | environment,
        )

    def ready(self) -> Driver:
        line = self.process.stdout.readline()
        assert line == "ready\n", (line, self.process.communicate()[1])
        return self

    def go(self) -> Driver:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def family(self) -> list[psutil.Process]:
        """The process and all that it started, directly or not."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


Start = Callable[..., Driver]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts drivers; what still runs at the end of the test is killed."""
    drivers: list[Driver] = []

    def start_driver(*arguments: object, script: Path = DRIVER, **environment: str) -> Driver:
        drivers.append(Driver(arguments, environment, script))
        return drivers[-1]

    yield start_driver
    for driver in drivers:
        if driver.process.poll() is None:
            driver.process.kill()
        with contextlib.suppress(BrokenPipeError, ValueError):
            driver.process.communicate()


@pytest.fixture
def beam() -> None:
    """Beam's runner lives and ends with the day; there is nothing to start."""


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twins:
    """Two worlds whose input files have several row groups, so that there is something to distribute."""
    monkeypatch.setattr("tallywright.data.delta.replacing._ROW_GROUP", 500)
    monkeypatch.setattr("tallywright.scoring.prepare.plan_splits", partial(plan_splits, target_rows=1000))
    return Twins.born(tmp_path)


@dataclass(frozen=True)
class Marker:
    """The file that lets one process alone die, or be held, at a point."""

    path: Path

    def environment(self, point: str, *, hold: bool = False) -> dict[str, str]:
        """What a process must find in its environment."""
        asked = {"TALLYWRIGHT_KILL_AT": point, "TALLYWRIGHT_KILL_ONCE": str(self.path)}
        return asked | ({"TALLYWRIGHT_KILL_WITH": "SIGSTOP"} if hold else {})

    def told(self) -> list[psutil.Process]:
        """Every process that has this in its environment: a driver, and all that it started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("TALLYWRIGHT_KILL_ONCE") == str(self.path):
                    found.append(process)
        return found

    def process(self, seconds: float = 300) -> psutil.Process:
        """Waits until a process has come to the point; gives that process."""
        until(lambda: self.path.exists() and self.path.read_text().endswith("\n"), "a process at the point", seconds)
        return psutil.Process(int(self.path.read_text()))


@dataclass
class Watch:
    """A reader that looks at the killed world's day all the while."""

    driver: Driver
    folder: Path

    @property
    def marker(self) -> Marker:
        """For the process that is to die meanwhile."""
        return Marker(self.folder / "reached")

    def saw(self, *contents: str) -> None:
        """Ends the reader; it saw nothing but these contents of the day, in this order."""
        (self.folder / "stop").touch()
        code, _, error = self.driver.end()
        assert code == 0, error
        told = json.loads((self.folder / "seen.json").read_text())
        places = [contents.index(content) for content in told["seen"]]
        assert places == sorted(places)
        assert told["reads"] > 1


@pytest.fixture
def watch(start: Start, twins: Twins, tmp_path: Path) -> Watch:
    """Started now; it reads once the test has waited for it and said so."""
    return Watch(start("read", twins.killed, tmp_path / "stop", tmp_path / "seen.json"), tmp_path)


def until(true: Callable[[], object], what: str, seconds: float = 300) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.05)


def gone(processes: list[psutil.Process], seconds: float = 20) -> None:
    """Waits until none of these processes runs any more."""
    _, left = psutil.wait_procs(processes, timeout=seconds)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
