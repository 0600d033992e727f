"""Ports for servers that tests start as processes of their own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain

_FIRST, _LAST = 23_000, 32_000
"""Below the ports that the system hands out, which anybody may be given between the choice and the start of the server;
above those of `places`."""


def _candidates() -> Iterator[int]:
    """Each port once, in an order in which processes with neighbouring ids begin far from one another."""
    start = _FIRST + os.getpid() * 997 % (_LAST - _FIRST)
    yield from chain(range(start, _LAST), range(_FIRST, start))


_LEFT = _candidates()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free, none of which this process was given before."""
    found: list[int] = []
    with ExitStack() as held:
        for port in _LEFT:
            try:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports")


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
