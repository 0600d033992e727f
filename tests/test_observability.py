"""A point stops the process that was asked to stop there, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

SCRIPT = "from tallywright.observability import failpoint; failpoint('other'); failpoint('staged'); print('alive')"


def passes(**environment: str) -> subprocess.Popen[str]:
    asked = {f"TALLYWRIGHT_KILL_{name.upper()}": value for name, value in environment.items()}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=os.environ | asked, stdout=subprocess.PIPE, text=True)


def test_a_process_that_was_not_asked_goes_on() -> None:
    assert passes().communicate() == ("alive\n", None)
    assert passes(at="committed").communicate() == ("alive\n", None)


def test_only_the_first_process_at_the_point_dies(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    first = passes(at="staged", once=str(marker))
    assert (first.communicate()[0], first.returncode) == ("", -signal.SIGKILL)
    assert int(marker.read_text()) == first.pid
    second = passes(at="staged", once=str(marker))
    assert (second.communicate()[0], second.returncode) == ("alive\n", 0)


def test_a_process_can_be_held_at_the_point_instead(tmp_path: Path) -> None:
    held = passes(at="staged", **{"with": "SIGSTOP"})
    os.waitpid(held.pid, os.WUNTRACED)
    assert psutil.Process(held.pid).status() == psutil.STATUS_STOPPED
    os.kill(held.pid, signal.SIGCONT)
    assert (held.communicate()[0], held.returncode) == ("alive\n", 0)
