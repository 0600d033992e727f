"""The shadow table: verified like the scores, committed once a day before them; its failures never stop the scores."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from deltalake.exceptions import CommitFailedError, DeltaError

from tallywright.data.delta.commit import LostRaceError, Race, SkippedError, compare_and_swap
from tallywright.data.delta.generation import tally_transaction
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import CommitConflictError, StorageError, TallyError
from tallywright.observability import log
from tallywright.records import Role, RoleTally
from tallywright.scoring.commit.manifests import logged_tallies
from tallywright.scoring.commit.profile_table import profile_digest
from tallywright.scoring.commit.scores_table import generation_in
from tallywright.scoring.commit.standing import shadow_problem
from tallywright.scoring.identity import FORCED, basis_of, outdated, reason_between
from tallywright.scoring.job import label_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest
    from tallywright.scoring.commit.sink import StagedOutput, Writer
    from tallywright.scoring.job import JobModel
    from tallywright.spec.model import ModelSpec

_NO_TABLE: Final = "the table of shadows cannot be used; the log says why"


def commit_sound_shadows(lake: Lake, spec: ModelSpec, day: StagedOutput, manifest: Manifest) -> tuple[RoleTally, ...]:
    """Commits the rows of the sound shadows, and returns what became of each; never raises for a shadow.

    Args:
        lake: Where the table stands.
        spec: Whose shadows.
        day: The day as scored; its scores are verified.
        manifest: The tally's, about to be committed.
    """
    models = [model for model in day.job.models if model.role is Role.SHADOW]
    if day.job.shadow_schema is None:
        return tuple(_tally(model, _NO_TABLE, day, manifest) for model in models)
    notes = {
        model.label: day.sums.failures.get(model.label) or _refusal(day, manifest, model.label) for model in models
    }
    for label in (label for label, note in notes.items() if note):
        log.warning("%s failed, the day goes on without it: %s", label, notes[label])
        day.discard(label)
    sound = [label for label, note in notes.items() if not note]
    if sound:
        done = tuple(_tally(model, "", day, manifest) for model in models if model.label in sound)
        note = _commit(lake, spec, day, manifest.model_copy(update={"roles": done, "files": day.files(*sound)}))
        notes |= dict.fromkeys(sound, note)
    return tuple(_tally(model, notes[model.label], day, manifest) for model in models)


def _tally(model: JobModel, note: str, day: StagedOutput, manifest: Manifest) -> RoleTally:
    version = int(model.constants["model_version"])
    if note:
        return RoleTally(role=Role.SHADOW, version=version, note=note)
    digest = profile_digest(day.sums.profiles[model.label])
    return RoleTally(role=Role.SHADOW, version=version, rows=manifest.rows, profile_digest=digest)


def _refusal(day: StagedOutput, manifest: Manifest, label: str) -> str:
    """The reason why the rows of one shadow cannot be committed; empty when they can."""
    try:
        keys = day.verify_shadow(label)
    except TallyError as error:
        return error.found
    return "" if keys.hex == manifest.key_digest else "its keys are not those of the scores"


def _commit(lake: Lake, spec: ModelSpec, day: StagedOutput, manifest: Manifest) -> str:
    """Commits the rows; returns the reason when that failed, else an empty text."""
    labels = [label_of(one.role, one.version) for one in manifest.roles]
    try:
        ours = commit_shadows(lake, spec, manifest, day.shadow_writer(labels))
    except TallyError as error:
        log.warning("the shadows of %s are not committed, the day goes on: %s", manifest.score_date, error)
        if isinstance(error, CommitConflictError):
            # After any other failure they may stand all the same.
            day.discard(*labels)
        return error.found
    if not ours:
        day.discard(*labels)
    return ""


def commit_shadows(lake: Lake, spec: ModelSpec, manifest: Manifest, write: Writer) -> bool:
    """Replaces the date in the shadow table, in one commit; False when these very rows are there already.

    Args:
        lake: Where the table stands.
        spec: Whose shadows.
        manifest: The tally's, with the shadows whose rows these are as its roles.
        write: Makes the commit, of verified rows; may be called several times.

    Raises:
        CommitConflictError: Rows of a newer input stand there, or the table never came to rest.
        StorageError: The log cannot be written; the rows may or may not stand.
    """
    manifest = manifest.model_copy(update={"commit_id": uuid.uuid4().hex})
    race = Race(
        hold=lambda: lake.hold(spec.table("shadow")),
        failure=lambda error: _failed(spec, manifest, error),
        conflict=lambda: CommitConflictError(
            f"{spec.table('shadow')} kept changing", remedy="run it again, with fewer writers at once"
        ),
    )
    return compare_and_swap(race, lambda table: _attempt(lake, spec, table, manifest, write))


def _attempt(lake: Lake, spec: ModelSpec, table: DeltaTable, manifest: Manifest, write: Writer) -> bool:
    standing = next((tally.manifest for tally in logged_tallies(lake, table, manifest.score_date)), None)
    if standing is not None and _same(standing, manifest, spec):
        ours = standing.commit_id == manifest.commit_id
        if ours or not shadow_problem(lake, spec, manifest):
            return ours
    _require_newest(standing, manifest)
    # The table numbers its own generations: a day may be scored without shadows in between.
    numbered = manifest.model_copy(update={"generation": generation_in(table, spec, manifest.score_date) + 1})
    try:
        version = write(table, numbered, tally_transaction(spec, manifest.score_date))
    except (CommitFailedError, LostRaceError):
        raise
    except (DeltaError, OSError) as error:
        raise _failed(spec, manifest, error) from error
    if version is None:
        raise SkippedError(f"generation {numbered.generation} of {manifest.score_date} stands, whoever wrote it")
    return True


def _same(standing: Manifest, manifest: Manifest, spec: ModelSpec) -> bool:
    """True when the rows in the table are these: written by this very commit, or from the same inputs."""
    if standing.commit_id == manifest.commit_id:
        return True
    changed = reason_between(standing, manifest, spec.scoring) or standing.roles != manifest.roles
    return not changed and manifest.reason != FORCED


def _require_newest(standing: Manifest | None, manifest: Manifest) -> None:
    if standing is None or manifest.override:
        return
    mine, theirs = basis_of(manifest), basis_of(standing)
    if mine.older_than(theirs):
        raise outdated(manifest.input, mine, standing.generation, theirs)


def _failed(spec: ModelSpec, manifest: Manifest, error: Exception) -> StorageError:
    return StorageError(
        f"the commit of {manifest.score_date} to {spec.table('shadow')} failed: {cause_of(error)}",
        expected="a writable table folder with free space",
        remedy="check permissions and free space, then score the day again with --force",
    )
