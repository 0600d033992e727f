"""The contents that dates of the feature table had: the one that stands, earlier ones, and those that were scored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from tallywright.data.delta.table import Table
from tallywright.data.inputs.versions import INPUTS
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.records import RawFileRows
    from tallywright.reporting.backward.scored import ScoredPart
    from tallywright.spec import ModelSpec


ContentKey = tuple[date, int]
"""A date of the feature table, and the Delta version that made its content."""


@dataclass(frozen=True, slots=True)
class Content:
    """One content of a date; `stands` says whether the feature table has it today."""

    day: date
    version: int
    fingerprint: str
    rows: int
    raw_files: tuple[RawFileRows, ...] | None = None
    """None where they were not recorded."""
    code_version: str = ""
    stands: bool = False

    @property
    def key(self) -> ContentKey:
        """What tells it from the others."""
        return self.day, self.version


class Contents:
    """Contents by date and version."""

    def __init__(self, found: Iterable[Content]) -> None:
        self._by_day: dict[date, dict[int, Content]] = defaultdict(dict)
        for content in found:
            known = self._by_day[content.day].get(content.version)
            if known is None or (known.raw_files is None and content.raw_files is not None):
                self._by_day[content.day][content.version] = content

    def __iter__(self) -> Iterator[Content]:
        for day in sorted(self._by_day):
            yield from (self._by_day[day][version] for version in sorted(self._by_day[day]))

    def at(self, version: int, first: date, last: date) -> Iterator[tuple[date, Content | None]]:
        """Yields the dates of a range with the content that a version of the table had; None where none is recorded.

        Args:
            version: Of the feature table.
            first: The first local date.
            last: The last one.
        """
        for day in sorted(self._by_day):
            if first <= date_of(day) <= last:
                known = self._by_day[day]
                before = [number for number in known if number <= version]
                yield day, known[max(before)] if before else None


def known_contents(lake: Lake, spec: ModelSpec, scored: Sequence[ScoredPart]) -> list[Content]:
    """What ingest has recorded of each date, and what tallies say that they have read.

    Raises:
        StorageError: The lake cannot be read.
    """
    recorded = [
        Content(
            day=row.score_date,
            version=one.version,
            fingerprint=one.fingerprint,
            rows=one.rows,
            raw_files=one.raw_files,
            code_version=one.code_version,
            stands=one.version == row.version,
        )
        for row in Table(INPUTS, lake, spec).read()
        for one in (row.as_earlier, *row.earlier)
    ]
    read = [
        Content(
            day=part.day,
            version=part.input.version,
            fingerprint=part.input.fingerprint,
            rows=part.input.rows,
            raw_files=part.input.raw_files,
            code_version=part.input.code_version,
        )
        for part in scored
    ]
    return [*recorded, *read]
