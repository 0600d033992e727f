"""Slices of small tables that wait for one commit: the rows that follow the tallies of a range need not cost one each.

Only what can be made again waits: a process that dies loses rows that its next run writes. Whoever reads a declared
table through the same lake finds the waiting rows in place of the stored ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallywright.data.delta.change import Change
    from tallywright.data.delta.slices import Value

Slice = tuple[tuple[str, Any], ...]


class PendingChanges:
    """The newest change of each slice, by table."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[Slice, Change]] = {}

    def put(self, change: Change) -> None:
        """Keeps a change; one of the same slice that waits already is forgotten."""
        self._changes.setdefault(change.table, {})[_slice(change.slice)] = change

    def of(self, table: str) -> list[Change]:
        """What waits for a table."""
        return list(self._changes.get(table, {}).values())

    def take(self) -> Iterator[Change]:
        """All that waits, one change a table; each is forgotten once the next one is asked for."""
        for table in list(self._changes):
            first, *others = self._changes[table].values()
            data = pa.concat_tables([first.data, *(other.data for other in others)])
            yield replace(first, data=data, also=tuple(other.slice for other in others))
            del self._changes[table]


def in_slice(row: Mapping[str, Any], where: Mapping[str, Value]) -> bool:
    """Whether a row is in a slice."""
    return all(row[name] == value for name, value in where.items())


def _slice(where: Mapping[str, Value]) -> Slice:
    return tuple(sorted(where.items()))
