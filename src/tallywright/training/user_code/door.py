"""The one door to a project's own code: whatever it raises becomes an error of ours that names file, line and function.

Ending the process is nothing that a network may do, so `SystemExit` is caught here too. What the code prints goes to
the log: standard output belongs to the command.
"""

from __future__ import annotations

import io
import signal
import traceback
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Final

from tallywright.errors import SpecError, TallyError
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTRACT: Final = (
    "a Python file in the model project with `build(dims: NetworkDims) -> torch.nn.Module`, whose "
    "`forward(numeric, categorical)` gives logits [rows, dims.outputs]"
)
REMEDY: Final = "correct the file or `training.estimator.module`; `tally init` writes an example"
_LONGEST_LINE: Final = 2000


class Stopped(BaseException):
    """Raised where the process is asked to stop: not the fault of the code that it interrupts."""


def bad_network(found: str, *, remedy: str = REMEDY) -> SpecError:
    """The error of a network file that cannot be used."""
    return SpecError(found, expected=CONTRACT, remedy=remedy)


@contextmanager
def user_code(path: Path, *, quiet: bool = False, always: bool = True) -> Iterator[None]:
    """Runs the block, which calls the code of the file `path`.

    Args:
        path: The project's file.
        quiet: What is printed is left out, unless the code fails: it will run again, and print it then.
        always: Blame the file for every exception; otherwise only for those that its code has raised or let through.

    Raises:
        SpecError: The code raised something, `SystemExit` included.
    """
    printed = _Printed(path.name, quiet=quiet)
    try:
        with redirect_stdout(printed):
            yield
    except (TallyError, Stopped):
        raise
    except BaseException as error:
        place = place_of(error, path)
        if (isinstance(error, KeyboardInterrupt) and _may_be_asked_to_stop()) or not (place or always):
            raise
        printed.tell()
        raise _misbehaved(path, error, place) from error
    finally:
        printed.end()


def place_of(error: BaseException, path: Path) -> str:
    """Line and function of a file that an exception came through last; empty when it came from elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno or 1}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if not frames:
        return ""
    inside = "" if frames[-1].name == "<module>" else f", in {frames[-1].name}"
    return f"line {frames[-1].lineno}{inside}"


def _misbehaved(path: Path, error: BaseException, place: str) -> SpecError:
    where = f"{path} {place}" if place else f"the network file {path}"
    text = _said(error)
    if isinstance(error, SystemExit):
        return bad_network(f"{where} ends the process (SystemExit: {text})")
    return bad_network(f"{where}: {type(error).__name__}: {text}")


def _said(error: BaseException) -> str:
    """What an exception says, in one line that prints: its class may be the project's own."""
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception as other:  # noqa: BLE001 - whatever a text of the project's raises
        text = f"its text cannot be made: {type(other).__name__}"
    line = " ".join(text[: 2 * _LONGEST_LINE].split())[:_LONGEST_LINE]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def _may_be_asked_to_stop() -> bool:
    """False in a process that no Ctrl-C reaches: there a KeyboardInterrupt is the code's own."""
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


class _Printed(io.TextIOBase):
    """A stream whose lines go to the log, as those of a file."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        super().__init__()
        self._name = name
        self._quiet = quiet
        self._kept: list[str] = []
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def tell(self) -> int:
        """Logs what was kept back."""
        for line in self._kept:
            log.info("%s: %s", self._name, line)
        self._kept = []
        return 0

    def end(self) -> None:
        """Logs the last line, which no line break ended."""
        if self._rest and not self._quiet:
            self._line(self._rest)
        self._rest = ""

    def _line(self, line: str) -> None:
        shown = line[:_LONGEST_LINE]
        if self._quiet:
            del self._kept[:-200]
            self._kept.append(shown)
        else:
            log.info("%s: %s", self._name, shown)
