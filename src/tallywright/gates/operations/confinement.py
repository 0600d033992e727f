"""Confines this process before it loads anything: no unpickling, no sockets, and where the kernel allows it no network.

An audit hook cannot be taken back, and no library can talk itself around it. Native code raises no audit events, so
the process also leaves the machine's network for an empty one of its own: Linux gives that to everybody who has a user
namespace. Only the standard library is imported here, since a process with threads cannot leave.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import sys
from typing import Any, Final

_NEW_NETWORK: Final = 0x40000000
_NEW_USER: Final = 0x10000000
"""`CLONE_NEWNET` and `CLONE_NEWUSER` of Linux's `sched.h`."""
_DISCARD: Final = 9
"""The port of a service that throws away what it is sent."""


class ConfinedError(RuntimeError):
    """Raised where confined code does what it must not."""


def confine() -> str:
    """Confines this process for good; returns how the network is off, in words."""
    how = "sockets refused, in a network namespace of its own" if _leave_network() else "sockets refused"
    sys.addaudithook(_refuse)
    return how


def refuses_pickles() -> bool:
    """True when a pickle that names a class is not loaded: tried, not assumed."""
    try:
        pickle.loads(pickle.dumps(ConfinedError))  # noqa: S301 - it must not work
    except ConfinedError:
        return True
    return False


def refuses_sockets() -> bool:
    """True when no connection can be opened: tried, not assumed."""
    try:
        socket.create_connection(("127.0.0.1", _DISCARD), timeout=1).close()
    except ConfinedError:
        return True
    except OSError:
        return False
    return False


def _leave_network() -> bool:
    """Moves this process into an empty network; False where that is not possible."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return False
    # With the rights of root the network alone is enough; without them a user namespace gives the right to leave it.
    alone = _NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER
    return any(libc.unshare(flags) == 0 for flags in dict.fromkeys((alone, _NEW_NETWORK | _NEW_USER)))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        raise ConfinedError(f"a pickle was about to load {arguments}; packages hold none")
    if event.startswith("socket."):
        raise ConfinedError(f"{event} was called; a score needs no network")
