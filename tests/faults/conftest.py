"""Processes that score, so that tests can kill them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DRIVER = Path(__file__).parent / "driver.py"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a driver and waits until it is ready to go; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start_driver(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(DRIVER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"} | environment,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", (line, process.communicate()[1])
        return process

    yield start_driver
    for process in processes:
        if process.poll() is None:
            process.kill()
        with contextlib.suppress(BrokenPipeError, ValueError):
            process.communicate()
