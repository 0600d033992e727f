"""A reading of the raw files, and what it may overwrite: only what stood before it began.

Before the raw files are read, the version that last changed each date is noted in every table. A commit of a date is
made only while that is still the newest one: where another run has committed the date since, its content may be newer
than what was read here, and the raw files are read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.generation import content_transaction, content_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

TABLES: Final = ("quarantine", "labels", "features")
"""What a date of raw files becomes, in the order of the commits."""


class OutdatedReadingError(Exception):
    """Another run has committed the date since this one began to read the raw files."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What stood in each table before the raw files were read, by table and date."""

    standing: Mapping[tuple[str, date], int | None]
    force: bool = False
    """Write equal content too."""

    @classmethod
    def before(cls, lake: Lake, spec: ModelSpec, days: Iterable[date], *, force: bool = False) -> Reading:
        """Notes what stands; to be called before the raw files are read."""
        dates = list(days)
        tables = [spec.table(what) for what in TABLES]
        return cls({(table, day): content_version(lake, table, day) for table in tables for day in dates}, force)

    @property
    def days(self) -> list[date]:
        """The dates that it is about, in order."""
        return sorted({day for _, day in self.standing})

    def require_newest(self, base: DeltaTable, table: str, day: date) -> None:
        """Refuses to go over content of the date that was committed since.

        Raises:
            OutdatedReadingError: The raw files have to be read again.
        """
        found, known = base.transaction_version(content_transaction(table, day)), self.standing[table, day]
        if found != known:
            raise OutdatedReadingError(
                f"{table} of {day} was committed as version {found} since the raw files were read, at version {known}"
            )
