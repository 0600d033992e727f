"""The sink: commits a scored, staged day in one Delta commit by compare-and-swap, beside other writers.

A staged output has one interface, whether its rows are in files or kept by the engine. delta-rs records app
transactions but does not fence by them, and its own retries accept stale overwrites; so there are no automatic retries
here. On any conflict the newest version is read, the decision made again, and the same parts committed.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

from tallywright.data.delta.commit import ATTEMPTS, LostRaceError, Race, SkippedError, compare_and_swap
from tallywright.data.delta.generation import tally_transaction
from tallywright.data.delta.replacing import VERSION_KEY
from tallywright.data.storage.filesystem import is_disk
from tallywright.data.storage.store_errors import cause_of, store_remedy
from tallywright.errors import CommitConflictError, EngineError, StorageError, TallyError
from tallywright.observability import failpoint, log
from tallywright.records import CommittedFile, Role
from tallywright.score_period import partition_values
from tallywright.scoring.commit.manifests import MANIFEST_KEY, Tally, latest_tally, logged_tallies
from tallywright.scoring.commit.scores_table import generation_in
from tallywright.scoring.commit.verify import check_cover, check_sizes, part_path, staged_paths, verify_parts
from tallywright.scoring.identity import FORCED, basis_of, champion_stands, outdated, reason_between
from tallywright.scoring.worker.fragments import discard
from tallywright.scoring.worker.kernel import DaySums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.fingerprint import RowDigest
    from tallywright.records import InputVersion, Manifest
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest
    from tallywright.spec.model import ModelSpec


class StagedOutput(Protocol):
    """The scored, uncommitted rows of a day for the scores and the shadow table, with their counts."""

    @property
    def job(self) -> ScoreJob:
        """The job that was scored."""

    @property
    def sums(self) -> DaySums:
        """The counts of the day."""

    def check_cover(self) -> None:
        """Raises an `InputError` unless every row of the pinned input was scored once."""

    def verify(self) -> RowDigest:
        """Checks the rows of the scores table, and returns the digest of their keys."""

    def verify_shadow(self, label: str) -> RowDigest:
        """Checks the rows of one shadow, and returns the digest of their keys."""

    def files(self, *labels: str) -> tuple[CommittedFile, ...]:
        """The files that the commit of the scores (or of these shadows) adds; none where the engine makes them."""

    def writer(self) -> Writer:
        """The writer of the rows of the scores table."""

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """The writer of the rows of these shadows."""

    def discard(self, *labels: str) -> None:
        """Deletes what is staged under these labels (`scores`, `shadow:3`); without any, everything."""


@dataclass(frozen=True)
class StagedParts:
    """Staged parts: files in the tables' folders that no commit names yet."""

    job: ScoreJob
    pinned: InputVersion
    splits: Sequence[InputSplit]
    parts: Sequence[PartManifest]

    @cached_property
    def sums(self) -> DaySums:
        """The counts of the day."""
        return DaySums.of(self.parts)

    def check_cover(self) -> None:
        """Checks that every split has its part."""
        check_cover(self.pinned, self.splits, self.parts)

    def verify(self) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job, self.pinned, self.splits, self.parts)

    def verify_shadow(self, label: str) -> RowDigest:
        """As `verify_parts`."""
        return verify_parts(self.job.for_shadows(), self.pinned, self.splits, self._shadows([label]))

    def files(self, *labels: str) -> tuple[CommittedFile, ...]:
        """The parts as the commit names them."""
        parts = self._shadows(labels) if labels else self.parts
        return tuple(
            CommittedFile(path=part.path, size=part.size, rows=part.rows, footer=part.footer, checksums=True)
            for part in parts
        )

    def writer(self) -> Writer:
        """The writer that adds the parts in a commit."""
        return parts_writer(self.job, self.parts)

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """The writer that adds the parts of these shadows in a commit."""
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


class Writer(Protocol):
    """Tries to commit a manifest and its rows on top of a table version, once."""

    def __call__(self, table: DeltaTable, manifest: Manifest, transaction: str) -> int | None:
        """The version of the commit; None when the log must tell (it may have been skipped)."""


class UncertainCommitError(StorageError):
    """It is unknown whether the commit succeeded or yet will, so the staged parts must stay where they are."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result of a commit: the day's latest tally, and whether it is made of our parts."""

    tally: Tally
    ours: bool


def commit_tally(
    lake: Lake, spec: ModelSpec, manifest: Manifest, write: Writer, *, withdrawn: Callable[[], str] = str
) -> CommitResult:
    """Replaces exactly the manifest's date with the verified rows, in one commit.

    Args:
        lake: Where the table lives.
        spec: Whose scores.
        manifest: As decided before scoring: it follows generation `manifest.generation - 1`.
        write: Makes the commit, of verified rows; may be called several times.
        withdrawn: Says which of its models may not score any more; empty where all may. It is asked right before each
            attempt: a day that a version had scored before it was withdrawn stands, and this one would count as such.

    Raises:
        CommitConflictError: Another writer scored a newer input, a model was withdrawn meanwhile, or the table never
            came to rest.
        UncertainCommitError: The log cannot be read, or a request to an object store failed and may yet arrive.
        StorageError: The log cannot be written; the table is unchanged.
    """
    attempt = _Attempt(lake, spec, manifest.model_copy(update={"commit_id": uuid.uuid4().hex}), write, withdrawn)
    race = Race(
        hold=lambda: lake.hold(spec.table("scores")),
        failure=lambda error: _failed(lake, spec, attempt.manifest, error),
        conflict=lambda: CommitConflictError(
            f"{spec.table('scores')} changed under each of {ATTEMPTS} attempts to commit {manifest.score_date}",
            expected="a pause between other writers' commits",
            remedy="run it again, with fewer writers at once",
        ),
        attempts=ATTEMPTS,
    )
    return compare_and_swap(race, attempt)


@dataclass(slots=True)
class _Attempt:
    """An attempt to commit on the newest version; the manifest is adapted to what other writers committed."""

    lake: Lake
    spec: ModelSpec
    manifest: Manifest
    write: Writer
    withdrawn: Callable[[], str]

    def __call__(self, table: DeltaTable) -> CommitResult:
        day = self.manifest.score_date
        if generation_in(table, self.spec, day) != self.manifest.generation - 1:
            result, self.manifest = _next_attempt(self.lake, self.spec, table, self.manifest)
            if result is not None:
                return result
        failpoint("before-commit")
        if found := self.withdrawn():
            raise CommitConflictError(
                f"{found}, after the models of {day} were resolved",
                expected="models that may score when the day is committed",
                remedy=f"tally score {self.spec.name} --date {day}",
            )
        try:
            version = self.write(table, self.manifest, tally_transaction(self.spec, day))
        except (CommitFailedError, LostRaceError):
            raise
        except (DeltaError, OSError, EngineError) as error:
            return _after_failure(self.lake, self.spec, self.manifest, error)
        if version is not None:
            return CommitResult(Tally(manifest=self.manifest, version=version), ours=True)
        # Delta's own writer silently skips a transaction that is recorded already: the log tells.
        ours = _ours(self.lake, self.lake.look(self.spec.table("scores")), self.manifest)
        if ours is None:
            raise SkippedError(f"generation {self.manifest.generation} of {day} stands")
        return CommitResult(ours, ours=True)


def parts_writer(job: ScoreJob, parts: Sequence[PartManifest]) -> Writer:
    """A writer that commits staged parts as they are, if they are still there."""

    def write(table: DeltaTable, manifest: Manifest, transaction: str) -> int:
        # Delta would commit what is not there; verification and waiting for other writers can have taken a while.
        check_sizes(job, parts)
        version = table.version() + 1
        _write(table, manifest, transaction, parts)
        with suppress(DeltaError, OSError):
            # Unlike other commits, this kind does not move the handle; if this fails, the next reader refreshes it.
            table.update_incremental()
        return version

    return write


def _write(table: DeltaTable, manifest: Manifest, transaction: str, parts: Sequence[PartManifest]) -> None:
    period = partition_values(manifest.score_date)
    now = int(manifest.committed_at.timestamp() * 1000)
    adds: list[AddAction | RemoveAction] = [
        AddAction(
            path=part.path,
            size=part.size,
            partition_values=period,
            modification_time=now,
            data_change=True,
            stats=part.statistics,
        )
        for part in parts
    ]
    table.create_write_transaction(
        adds,
        mode="overwrite",
        schema=table.schema(),
        partition_by=list(period),
        partition_filters=[(name, "=", value or "") for name, value in period.items()],
        commit_properties=CommitProperties(
            custom_metadata={MANIFEST_KEY: manifest.to_json(), VERSION_KEY: str(table.version() + 1)},
            max_commit_retries=0,
            app_transactions=[Transaction(transaction, manifest.generation)],
        ),
    )


def _next_attempt(
    lake: Lake, spec: ModelSpec, table: DeltaTable, manifest: Manifest
) -> tuple[CommitResult | None, Manifest]:
    """Decides again when the generation has changed: done already, done by another writer, or the next one."""
    ours = _ours(lake, table, manifest)
    if ours is not None:
        return CommitResult(ours, ours=True), manifest
    standing = latest_tally(lake, spec, manifest.score_date, table=table)
    generation = generation_in(table, spec, manifest.score_date) + 1
    if standing is None:
        return None, manifest.model_copy(update={"generation": generation})
    forced, reason = manifest.reason == FORCED, reason_between(standing.manifest, manifest, spec.scoring)
    if (not reason and not forced) or _is_needless_fallback(standing.manifest, manifest):
        return CommitResult(standing, ours=False), manifest
    require_newer(standing.manifest, manifest, differs=bool(reason))
    return None, manifest.model_copy(update={"generation": generation, "reason": reason or FORCED})


def require_newer(standing: Manifest, manifest: Manifest, *, differs: bool) -> None:
    """Refuses a manifest that is older than what another writer has committed since it was decided.

    One that differs and is neither older nor newer (another spec, other roles) was decided on an older generation: it
    has no right over what stands either.

    Raises:
        CommitConflictError: Names both.
    """
    mine, theirs = basis_of(manifest), basis_of(standing)
    if manifest.override or theirs.older_than(mine) > mine.older_than(theirs):
        return
    if differs or mine.older_than(theirs):
        raise outdated(manifest.input, mine, standing.generation, theirs)


def _is_needless_fallback(standing: Manifest, manifest: Manifest) -> bool:
    """True when a fallback would go over the rows of the very champion that it stands in for."""
    if manifest.primary.role is not Role.FALLBACK or manifest.override:
        return False
    absent = (one.version for one in manifest.roles if one.role is Role.CHAMPION)
    return any(champion_stands(standing, manifest.input.fingerprint, version) for version in absent)


def _after_failure(lake: Lake, spec: ModelSpec, manifest: Manifest, error: Exception) -> CommitResult:
    """The result of a commit whose response may have been lost: it succeeded if the log has it."""
    try:
        ours = _ours(lake, lake.open(spec.table("scores")), manifest)
    except (DeltaError, OSError, TallyError) as unreadable:
        raise UncertainCommitError(
            f"the commit of {manifest.score_date} to {spec.table('scores')} failed and its log cannot be read: "
            f"{cause_of(error)}",
            expected="a table folder that can be written and read",
            remedy="repair the storage and run it again: it will find out what stands, and finish it",
        ) from unreadable
    if ours is not None:
        log.warning("the commit of %s stands, though its answer was lost: %s", manifest.score_date, error)
        return CommitResult(ours, ours=True)
    raise error if isinstance(error, EngineError) else _failed(lake, spec, manifest, error) from error


def _failed(lake: Lake, spec: ModelSpec, manifest: Manifest, error: Exception) -> StorageError:
    """The error for a failed commit; an object store may still carry out a request that it did not answer."""
    found = f"the commit of {manifest.score_date} to {spec.table('scores')} failed: {cause_of(error)}"
    if not is_disk(lake.root):
        return UncertainCommitError(
            f"{found}; it is not in the log, and may yet arrive there",
            expected="an object store that answers",
            remedy=f"{store_remedy(error) or 'check the store'}; run it again: it finds out what stands, and finishes "
            f"it. Staged files stay for `tally maintain {spec.name}`",
        )
    return StorageError(
        found,
        expected="a writable table folder with free space",
        remedy="check permissions and free space; the table is unchanged, run it again",
    )


def _ours(lake: Lake, table: DeltaTable, manifest: Manifest) -> Tally | None:
    logged = logged_tallies(lake, table, manifest.score_date)
    return next((tally for tally in logged if tally.manifest.commit_id == manifest.commit_id), None)
