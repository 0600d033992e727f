"""A day that is scored and not yet committed, the same to the driver whoever keeps the rows: files, or the engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tallywright.scoring.commit.sink import Writer, parts_writer
from tallywright.scoring.commit.verify import check_cover, part_path, staged_paths, verify_parts
from tallywright.scoring.worker.part_files import discard
from tallywright.scoring.worker.results import DaySums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.fingerprint import RowDigest
    from tallywright.records import InputVersion
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.results import PartManifest


class StagedOutput(Protocol):
    """The scored rows of a day in both tables, and what was counted."""

    @property
    def job(self) -> ScoreJob:
        """What was scored."""

    @property
    def sums(self) -> DaySums:
        """What was counted."""

    def check_cover(self) -> None:
        """Raises an `InputError` unless every row of the pinned input was scored once."""

    def verify(self) -> RowDigest:
        """Checks the rows of the scores table, and gives the digest of the keys."""

    def verify_shadow(self, label: str) -> RowDigest:
        """Checks the rows of one shadow, and gives the digest of their keys."""

    def writer(self) -> Writer:
        """Commits the rows of the scores table."""

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """Commits the rows of these shadows."""

    def discard(self, *labels: str) -> None:
        """Deletes what is staged under these labels (`scores`, `shadow:3`); without any, everything."""


@dataclass(frozen=True)
class StagedParts:
    """Parts beside the tables' files, which no commit names yet."""

    job: ScoreJob
    pinned: InputVersion
    splits: Sequence[InputSplit]
    parts: Sequence[PartManifest]

    @cached_property
    def sums(self) -> DaySums:
        """What was counted."""
        return DaySums.of(self.parts)

    def check_cover(self) -> None:
        """Every split has its part."""
        check_cover(self.pinned, self.splits, self.parts)

    def verify(self) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job, self.pinned, self.splits, self.parts)

    def verify_shadow(self, label: str) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job.for_shadows(), self.pinned, self.splits, self._shadows([label]))

    def writer(self) -> Writer:
        """Names the parts in a commit."""
        return parts_writer(self.job, self.parts)

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """Names the parts of these shadows in a commit."""
        return parts_writer(self.job.for_shadows(), self._shadows(labels))

    def discard(self, *labels: str) -> None:
        """Deletes parts."""
        if not labels:
            discard(staged_paths(self.job, self.parts), self.job.options)
            return
        for label in labels:
            job = self.job.for_shadows() if label in self._labels else self.job
            parts = self._shadows([label]) if label in self._labels else self.parts
            discard((part_path(job, part) for part in parts), self.job.options)

    @property
    def _labels(self) -> set[str]:
        return {model.label for model in self.job.shadows}

    def _shadows(self, labels: Sequence[str]) -> list[PartManifest]:
        return [part.shadows[label] for label in labels for part in self.parts if label in part.shadows]
