"""Runs one command and ends it with its parent; started by file path, so it imports the standard library only.

The parent holds the other end of this process's standard input and never writes to it. When the parent dies, however
it dies (SIGKILL included), the pipe closes, and the guard ends the whole process group: the command, its workers,
itself. That works on every POSIX system, and for grandchildren, which `PR_SET_PDEATHSIG` does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 5.0


def _end_group_at_eof() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main(argv: list[str]) -> int:
    """Runs `argv` in this process's group and returns its exit code (128 + n when a signal ended it)."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # a handler, so that the command does not inherit it
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_group_at_eof, daemon=True).start()
    code = child.wait()
    os.killpg(0, signal.SIGTERM)  # whatever the command left behind; the guard itself ignores it
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
