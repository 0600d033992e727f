"""Ctrl-C and SIGTERM: raised in the main thread, told to whoever runs foreign code, and answered in two seconds.

Python runs a signal's handler between two of its own instructions: a command that waits inside a query, a network call
or an inference would answer when that returns. A thread therefore hears of the signal from the operating system, tells
those who said how they can be stopped, and ends the process when the main thread has not come back in time. Every
commit is atomic, so that such an end leaves what a kill leaves: the old state or the new one.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
PATIENCE: Final = 1.5
"""Seconds until the main thread must have heard of a signal."""
GRACE: Final = 8.0
"""Seconds that it has then to put things away: a cluster's jobs, the files of a run."""
_EVERY: Final = 0.05

_stops: list[Callable[[], None]] = []
_received: list[int] = []
_heard = threading.Event()
_left = threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a command as Ctrl-C does."""


@contextmanager
def stopped_by(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `stop` is called, again and again, from another thread once a signal has come."""
    _stops.append(stop)
    try:
        yield
    finally:
        _stops.remove(stop)


def received() -> int:
    """The first signal that came; 0 while none has."""
    return _received[0] if _received else 0


def raise_if_stopped() -> None:
    """Called where every exception is caught: a signal that foreign code has turned into one of its own goes on.

    Raises:
        KeyboardInterrupt: A signal has come.
    """
    if received():
        raise KeyboardInterrupt


def answer_signals() -> None:
    """Installs the handlers; of the main thread alone, and without effect in any other.

    A process that is forked from this one has the handlers of the system again.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    ours.setblocking(True)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and shells for what runs in the background
            signal.signal(number, _raise)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, theirs), name="signals", daemon=True).start()
    os.register_at_fork(after_in_child=_forget)
    atexit.register(_answered)  # the first that is registered is the last that is called


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    if _heard.is_set():  # asked twice
        _end(number)
    _received.append(number)
    _heard.set()
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _watch(ours: socket.socket, _theirs: socket.socket) -> None:
    """Waits for a signal of ours; then stops what runs, and the process in the end."""
    while True:
        number = ours.recv(1)[0]
        if number in SIGNALS and signal.getsignal(number) is _raise:
            break
    began = time.monotonic()
    while time.monotonic() - began < (GRACE if _heard.is_set() else PATIENCE):
        for stop in _stops.copy():
            with suppress(Exception):  # it may have ended meanwhile
                stop()
        time.sleep(_EVERY)
    _end(number)


def _end(number: int) -> NoReturn:
    """Ends the process at once; what it has not committed it has not done."""
    with suppress(OSError):
        os.write(2, b"stopped\n")
    os._exit(128 + number)


def _forget() -> None:
    """A forked worker ends as its parent wants it to, and tells the parent's thread nothing."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is _raise:
            signal.signal(number, handler)
    _stops.clear()


def _answered() -> None:
    """The command has ended, and its exit code stands: a signal that comes now would only replace it."""
    for number in SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_IGN)


def leave_running() -> None:
    """Says that a thread works on in foreign code, and that the process is to end without it."""
    _left.set()


def exit_with(code: int) -> NoReturn:
    """Ends a command; at once where a thread was left running, whose library is not to be taken apart under it."""
    if not _left.is_set():
        sys.exit(code)
    _leave(code)


def exit_stopped() -> NoReturn:
    """Ends a command that a signal has stopped: 130 after Ctrl-C, 143 after SIGTERM.

    What is registered for the end is done; the interpreter is not taken apart, as threads of libraries may still work.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write("stopped\n")
    _leave(128 + (received() or signal.SIGINT))


def _leave(code: int) -> NoReturn:
    atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would do before it waits for those threads
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a stream of ours has errors of its own; the code says what ended the command
            stream.flush()
    os._exit(code)
