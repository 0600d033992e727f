"""How a run tells what it is doing: log lines on stderr and named points of the commit protocol.

A point is a place where a crash is interesting. `TALLYWRIGHT_KILL_AT=<point>` makes the process kill itself there
with SIGKILL, which is how the fault tests (and an operator who rehearses a recovery) stop a real run at an exact place.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from typing import Final

KILL_AT: Final = "TALLYWRIGHT_KILL_AT"

log = logging.getLogger("tallywright")


def point(name: str) -> None:
    """Passes a named point of a protocol; dies here if the environment asks for it."""
    log.debug("point %s", name)
    if os.environ.get(KILL_AT) == name:
        os.kill(os.getpid(), signal.SIGKILL)


def without_credentials(text: str) -> str:
    """A text without the user names and passwords of the addresses in it; MLflow repeats addresses in its errors."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def configure_logging(*, verbose: bool = False) -> None:
    """Sends log lines to stderr, one a line, INFO and up (DEBUG with `verbose`); safe to call twice."""
    if log.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
