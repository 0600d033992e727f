"""Processes that score, so that tests can kill them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "driver.py"


class Driver:
    """One driver process; `go` lets it begin once it is ready."""

    def __init__(self, arguments: tuple[object, ...], environment: dict[str, str], script: Path = DRIVER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"} | environment,
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
