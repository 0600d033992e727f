"""A day that is scored and not yet committed, the same to the driver whoever keeps the rows: files, or the engine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tallywright.data.fingerprint import RowDigest
from tallywright.scoring.engine import CommittingEngine, Engine, Source, StagedRows, uses_own_io
from tallywright.scoring.files import discard
from tallywright.scoring.role_counts import DaySums
from tallywright.scoring.sink import Writer, parts_writer, rows_writer
from tallywright.scoring.verify import (
    check_cover,
    check_outputs,
    check_rows,
    part_path,
    staged_paths,
    verify_parts,
    verify_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deltalake import DeltaTable

    from tallywright.records import InputVersion, Manifest
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.kernel import PartManifest
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.scoring.tally import ScoreRequest


class Staged(Protocol):
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
    portions: Sequence[Portion]
    parts: Sequence[PartManifest]

    @cached_property
    def sums(self) -> DaySums:
        """What was counted."""
        return DaySums.of(self.parts)

    def check_cover(self) -> None:
        """Every portion has its part."""
        check_cover(self.pinned, self.portions, self.parts)

    def verify(self) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job, self.pinned, self.portions, self.parts)

    def verify_shadow(self, label: str) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job.for_shadows(), self.pinned, self.portions, self._shadows([label]))

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


@dataclass(frozen=True)
class KeptRows:
    """Rows that the engine keeps and commits with its own writer; what is not committed ends with its block."""

    job: ScoreJob
    pinned: InputVersion
    rows: StagedRows

    @cached_property
    def sums(self) -> DaySums:
        """What was counted."""
        return DaySums.of(self.rows.counted)

    def check_cover(self) -> None:
        """As many rows as were ingested."""
        check_rows(self.pinned, self.rows)

    def verify(self) -> RowDigest:
        """As `verify_rows`."""
        return verify_rows(self.job, self.pinned, self.rows)

    def verify_shadow(self, label: str) -> RowDigest:
        """A shadow's rows come from the very batches of the scores: what is left to check is its answers."""
        check_outputs(self.job, self.sums.shadow_problems.get(label, {}))
        return sum((piece.read for piece in self.rows.counted), start=RowDigest())

    def writer(self) -> Writer:
        """Lets the engine commit."""
        return rows_writer(self.rows)

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """Lets the engine commit the rows of these shadows."""

        def write(table: DeltaTable, manifest: Manifest, transaction: str) -> None:
            del table  # the writer looks for itself
            self.rows.commit_shadows(manifest, transaction, labels)

        return write

    def discard(self, *labels: str) -> None:
        """Nothing is in the tables' folders."""


@contextmanager
def staged(
    engine: Engine, request: ScoreRequest, job: ScoreJob, portions: Sequence[Portion], advance: Callable[[int], None]
) -> Iterator[Staged]:
    """Scores a day with an engine, in the way that the spec or the environment wants."""
    if not uses_own_io(engine, request.spec.scoring.io, request.lake.root):
        yield StagedParts(job, request.input, portions, engine.score(job, portions, advance))
        return
    assert isinstance(engine, CommittingEngine)  # noqa: S101 - uses_own_io asked
    source = Source(request.lake.uri(request.input.table), request.input.version)
    with engine.staged(job, source, advance) as rows:
        yield KeptRows(job, request.input, rows)
