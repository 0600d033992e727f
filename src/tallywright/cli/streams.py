"""The standard streams of a command: what cannot be written there is an error of ours, and JSON stands there alone.

A command ends with exit code 0 only if what it printed was taken. Standard error is for people: what cannot be written
there is dropped. With `--json`, file descriptor 1 means standard error to everybody but the command itself. Characters
that a terminal would obey, which may come with any value, name or message, are written out.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

from tallywright.errors import StorageError
from tallywright.redaction import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

_OUT, _ERR = 1, 2
_REMEDY: Final = "give it a standard output that can be written; what the command has done stands, so repeat it"
_OWN_STYLE: Final = re.compile("(\x1b\\[[01]m)")
"""Bold, and its end: what our tables are set in."""


class ReaderGone(Exception):  # noqa: N818 - an end, as KeyboardInterrupt is, and no OSError: click has an answer to those
    """Whoever read standard output has closed it, as `head` does."""


@contextmanager
def standard_streams(*, as_json: bool) -> Iterator[None]:
    """Puts streams of ours in the place of the process's own; of a stream that a caller has replaced, nothing.

    Raises:
        StorageError: Standard output is closed; said before anything is done.
        ReaderGone: While something is printed.
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
            with suppress(OSError, StorageError, ReaderGone, ValueError):
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
    # A character that the terminal's encoding does not have is shown by its code. To a stream in ASCII click would
    # write in UTF-8, by a writer of its own.
    encoding = getattr(like, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name == "ascii":
        encoding = "utf-8"
    buffered = io.BufferedWriter(raw)
    return _Visible(buffered, encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty())


class _Visible(io.TextIOWrapper):
    """Writes texts of which a terminal obeys nothing but our own style."""

    def write(self, text: str, /) -> int:
        parts = _OWN_STYLE.split(text)
        shown = [visible(part) if place % 2 == 0 else part if self.isatty() else "" for place, part in enumerate(parts)]
        super().write("".join(shown))
        return len(text)


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
                raise ReaderGone from error
            raise StorageError(f"standard output cannot be written: {error.strerror}", remedy=_REMEDY) from error
