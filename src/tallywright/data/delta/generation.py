"""Where a date stands: the generation of its tally and the version of its content, by the tables' app transactions.

App transactions are written with the commit that they number, so neither OPTIMIZE, other dates nor log cleanup move
them. Rows about a tally are written only while these are still what they were made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec


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
    return None if handle is None else handle.transaction_version(transaction)


def unless_scored_again(lake: Lake, spec: ModelSpec, manifest: Manifest) -> Callable[[DeltaTable], str]:
    """Says why rows about a tally must not be written any more: a later generation of its date stands."""

    def outdated(_: DeltaTable) -> str:
        found = generation_of(lake, spec, manifest.score_date)
        if found <= manifest.generation:
            return ""
        return f"generation {found} of {manifest.score_date} stands, and this is about generation {manifest.generation}"

    return outdated
