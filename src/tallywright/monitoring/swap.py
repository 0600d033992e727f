"""Writing what follows from a small table back to it, as one compare-and-swap.

A decision depends on the rows it joins. If another run was faster, its rows may change what is to be written, so the
change is thought out again on the new rows; the last writer must not simply win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from tallywright.data.delta.lake import Change, pause
from tallywright.errors import CommitConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.data.delta.lake import Lake

_ATTEMPTS: Final = 30

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SmallTable:
    """A table of one model, small enough to be written whole; each row has the model's name in `model_name`."""

    name: str
    model: str
    schema: pa.Schema

    def swap(self, lake: Lake, propose: Callable[[list[Row]], list[Row] | None]) -> bool:
        """Writes what `propose` makes of the rows, onto exactly the version that they were read from.

        Args:
            lake: The lake of the table, which is made when it is missing.
            propose: Given all rows, returns all rows as they shall stand, or None when nothing is to be written; asked
                again whenever another writer was faster.

        Returns:
            True when something was written.

        Raises:
            CommitConflictError: Other writers were faster each time.
            StorageError: The table cannot be read or written.
        """
        for attempt in range(_ATTEMPTS):
            base = lake.handle(self._change(self.schema.empty_table()))
            rows = propose(lake.read(self.name, version=base.version()).to_pylist())
            if rows is None:
                return False
            try:
                lake.commit(self._change(pa.Table.from_pylist(rows, schema=self.schema)), base)
            except CommitConflictError:
                pause(attempt)
            else:
                return True
        raise CommitConflictError(f"{self.name}: other runs were faster {_ATTEMPTS} times", remedy="run the step again")

    def _change(self, rows: pa.Table) -> Change:
        return Change(self.name, rows, {"model_name": self.model})
