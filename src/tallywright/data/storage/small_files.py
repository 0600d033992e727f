"""Contents of small data files, kept in memory: a range of days reads the same files of the same tables over and over.

A data file of a Delta table never changes and its name is never used again, so what was read once stays true.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pyarrow as pa

SMALL: Final = 1 << 17
"""Bytes of a file on storage that is small."""
_ALL: Final = 1 << 26
"""Bytes of Arrow buffers in memory that all of them may have; those that were not asked for the longest go first."""


class SmallFiles:
    """A bounded store by key; for several threads at once."""

    def __init__(self, limit: int = _ALL) -> None:
        self._limit = limit
        self._tables: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> pa.Table | None:
        """What was put there, if it is still there."""
        with self._lock:
            found = self._tables.get(key)
            if found is not None:
                self._tables.move_to_end(key)
            return found

    def put(self, key: Hashable, table: pa.Table) -> None:
        """Keeps a table, and forgets others to make room."""
        with self._lock:
            if key in self._tables:
                return
            self._tables[key] = table
            self._bytes += table.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._tables.popitem(last=False)[1].nbytes
