"""The standard streams of a command: what cannot be written there is an error of ours, and JSON stands there alone.

A command ends with exit code 0 only if what it printed was taken. Standard error is for people: what cannot be written
there is dropped. With `--json`, file descriptor 1 means standard error to everybody but the command itself.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

from tallywright.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OUT, _ERR = 1, 2
_REMEDY: Final = "give it a standard output that can be written; what the command has done stands, so repeat it"


@contextmanager
def standard_streams(*, as_json: bool) -> Iterator[None]:
    """Puts streams of ours in the place of the process's own; of a stream that a caller has replaced, nothing.

    Raises:
        StorageError: Standard output is closed; said before anything is done.
    """
    printed: TextIO | None = sys.stdout
    if printed is None:
        _occupy()
        raise StorageError("standard output cannot be written: it is closed", remedy=_REMEDY)
    printed.flush()
    if printed is not sys.__stdout__:
        yield
        return
    _occupy()
    kept = printed, sys.stderr
    target = os.dup(_OUT)
    if as_json:
        os.dup2(_ERR, _OUT)
    sys.stdout = _text(_Output(target, needed=True), kept[0])
    sys.stderr = _text(_Output(_ERR, needed=False), kept[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, StorageError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = kept
        if as_json:
            os.dup2(target, _OUT)


def _occupy() -> None:
    """Opens closed descriptors of the standard streams, so that no file of the command gets one of their numbers."""
    for number in (0, _OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _text(raw: _Output, like: TextIO | None) -> TextIO:
    # A character that the terminal's encoding does not have is shown by its code.
    encoding = getattr(like, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty())


class _Output(io.RawIOBase):
    """A descriptor to write to; after the first failure, what is written is dropped: it was said once."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._needed = needed
        self._lost = False

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self._lost:
            return memoryview(data).nbytes
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            self._lost = True
            if not self._needed:
                return memoryview(data).nbytes
            if isinstance(error, BrokenPipeError):
                raise
            raise StorageError(f"standard output cannot be written: {error.strerror}", remedy=_REMEDY) from error
