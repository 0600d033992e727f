"""Where a date stands: the generation of its tally and the version of its content, by the tables' app transactions.

App transactions are written with the commit that they number, so neither OPTIMIZE, other dates nor log cleanup move
them. Rows about a tally are written only while these are still what they were made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec


_KNOWN: Final = "tallywright_transactions"
"""The attribute of a handle that keeps what was asked: handles live as long as what they know is needed."""


def tally_transaction(spec: ModelSpec, day: date) -> str:
    """The app transaction whose version is the generation of that day's tally."""
    return f"tallywright/{spec.name}/{day.isoformat()}"


def content_transaction(table: str, day: date) -> str:
    """The app transaction whose version is that of the commit which last changed a date's content."""
    return f"tallywright/{table}/{day.isoformat()}"


def generation_of(lake: Lake, spec: ModelSpec, day: date) -> int:
    """The generation of the day's tally as it stands; 0 when the day was never scored."""
    return _transaction_version(lake, spec.table("scores"), tally_transaction(spec, day)) or 0


def content_version(lake: Lake, table: str, day: date) -> int | None:
    """The version that last changed the date's content; None where no commit of ingest is known."""
    return _transaction_version(lake, table, content_transaction(table, day))


def _transaction_version(lake: Lake, table: str, transaction: str) -> int | None:
    handle = lake.find(table)
    return None if handle is None else transaction_version(handle, transaction)


def transaction_version(handle: DeltaTable, transaction: str) -> int | None:
    """As the handle's own, asked once while the handle stays on its version: each time it would read the log again."""
    version, known = vars(handle).get(_KNOWN, (None, {}))
    if version != handle.version():
        known = {}
        vars(handle)[_KNOWN] = (handle.version(), known)
    if transaction not in known:
        known[transaction] = handle.transaction_version(transaction)
    found: int | None = known[transaction]
    return found


def unless_scored_again(lake: Lake, spec: ModelSpec, manifest: Manifest) -> Callable[[DeltaTable], str]:
    """Says why rows about a tally must not be written any more: a later generation of its date stands."""

    def outdated(_: DeltaTable) -> str:
        found = generation_of(lake, spec, manifest.score_date)
        if found <= manifest.generation:
            return ""
        return f"generation {found} of {manifest.score_date} stands, and this is about generation {manifest.generation}"

    return outdated
