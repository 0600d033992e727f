"""Logging to stderr, and failpoints: named points of the commit protocol at which tests kill a process.

`TALLYWRIGHT_KILL_AT=<point>` makes the process that passes it kill
itself there with SIGKILL, which is how the fault tests (and an operator who rehearses a recovery) stop a real run at an
exact place. `TALLYWRIGHT_KILL_ONCE=<file>` lets only the first process do so that can create the file, in which it
leaves its id; `TALLYWRIGHT_KILL_WITH=SIGSTOP` holds it there instead, so that another process can be killed meanwhile.
`at_failpoint` is told every point that its own thread passes, so that a test can hold a writer that is a thread.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

KILL_AT: Final = "TALLYWRIGHT_KILL_AT"
KILL_ONCE: Final = "TALLYWRIGHT_KILL_ONCE"
KILL_WITH: Final = "TALLYWRIGHT_KILL_WITH"

log = logging.getLogger("tallywright")
at_failpoint: ContextVar[Callable[[str], None] | None] = ContextVar("at_failpoint", default=None)
"""Called with the name of each point; of this thread alone."""


def failpoint(name: str) -> None:
    """A named point of a protocol; kills the process here if the environment asks for it."""
    log.debug("point %s", name)
    listener = at_failpoint.get()
    if listener is not None:
        listener(name)
    if os.environ.get(KILL_AT) == name and _first(os.environ.get(KILL_ONCE)):
        os.kill(os.getpid(), signal.Signals[os.environ.get(KILL_WITH, "SIGKILL")])


def _first(marker: str | None) -> bool:
    """True without a marker, and for the one process that creates it."""
    if marker is None:
        return True
    try:
        with Path(marker).open("x", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        return False
    return True


def _make_records_without_secrets() -> None:
    make = logging.getLogRecordFactory()
    formatter = logging.Formatter()

    def plain(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        with suppress(TypeError, ValueError):  # a message that does not fit its arguments; the handler says so
            record.msg, record.args = without_credentials(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = without_credentials(formatter.formatException(record.exc_info))
        return record

    logging.setLogRecordFactory(plain)


def configure_logging(*, verbose: bool = False) -> None:
    """Sends log lines to stderr, one a line, INFO and up (DEBUG with `verbose`); safe to call twice.

    No line of any logger in the process shows a secret: MLflow and the clients below it have handlers of their own, and
    repeat addresses.
    """
    if log.handlers:
        return
    _make_records_without_secrets()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
