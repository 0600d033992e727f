"""The profile rows of a tally, one a model: written after the commit, and counted again wherever a crash lost them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.scoring.commit.profile_table import profile_digest, read_profiles, row_of, write_profiles
from tallywright.scoring.job import label_of
from tallywright.scoring.prepare import job_for, pinned_files, profile_again
from tallywright.scoring.roles.eligibility import ModelSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.profiles.profile import Profile
    from tallywright.records import Manifest
    from tallywright.scoring.commit.profile_table import ProfileRow
    from tallywright.scoring.request import ScoreRequest
    from tallywright.scoring.worker.results import DaySums


def ensure_rows(request: ScoreRequest, manifest: Manifest, sums: DaySums | None) -> ProfileRow:
    """The row of the model that answers for the tally; all rows of the tally then stand.

    Args:
        request: Whose day; its packages are needed where the rows must be counted again.
        manifest: The tally that stands.
        sums: What this run counted; None when it did not score.

    Raises:
        PackageError: The rows must be counted again, and a package is not among the request's.
    """
    wanted = {manifest.profile_digest, *(one.profile_digest for one in manifest.roles if one.profile_digest)}
    rows = read_profiles(request.lake, request.spec, manifest)
    if rows.keys() != wanted:
        if sums is None or profile_digest(sums.profile) != manifest.profile_digest:
            sums = count_again(request, manifest)
        made = list(_rows(manifest, sums))
        write_profiles(request.lake, request.spec, made)
        return made[0]
    return rows[manifest.profile_digest]


def count_again(request: ScoreRequest, manifest: Manifest) -> DaySums:
    """Counts a tally from its pinned input and its models; exact, so the very same profiles.

    Raises:
        PackageError: A package is not among the request's.
    """
    silent = {(one.role, one.version) for one in manifest.roles if one.note}
    models = tuple(ref for ref in manifest.models if (ref.role, ref.version) not in silent)
    model_set = ModelSet.of(models, request.packages, request.spec)
    job = job_for(request.spec, request.lake, manifest.input, model_set)
    splits, _ = pinned_files(request.lake, manifest.input)
    return profile_again(job, splits, request.packages)


def _rows(manifest: Manifest, sums: DaySums) -> Iterator[ProfileRow]:
    """The rows that the manifest speaks of, the primary's first."""
    primary = manifest.primary
    yield row_of(manifest, primary.role, primary.version, sums.profile)
    for one in manifest.roles:
        profile: Profile | None = sums.profiles.get(label_of(one.role, one.version))
        if profile is not None and one.profile_digest:
            yield row_of(manifest, one.role, one.version, profile)
