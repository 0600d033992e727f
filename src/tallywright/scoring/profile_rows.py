"""The profile rows of a tally, one a model: written after the commit, and counted again wherever a crash lost them.

They are about the tally as it was committed: its models, its input, its scoring section, whatever the spec says today.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tallywright.packaging.package import Package
from tallywright.records import ModelRef
from tallywright.scoring.commit.manifests import require_tally
from tallywright.scoring.commit.profile_table import profile_digest, read_profiles, row_of, write_profiles
from tallywright.scoring.job import label_of
from tallywright.scoring.prepare import job_for, pinned_files, profile_again
from tallywright.scoring.roles.eligibility import ModelSet
from tallywright.spec.model import Scoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.profiles.profile import Profile
    from tallywright.records import Manifest
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.scoring.commit.profile_table import ProfileRow
    from tallywright.scoring.worker.results import DaySums
    from tallywright.spec.model import ModelSpec

PackageSource = Callable[[ModelRef], Package]
"""Gives the verified package of a version, or raises a PackageError."""


def ensure_profile(lake: Lake, spec: ModelSpec, day: date, packages: PackageSource) -> tuple[Tally, ProfileRow]:
    """The latest tally of a day, and the profile row of the model that answers for it; all its rows then stand.

    Raises:
        InputError: The day was never scored.
        PackageError: The rows must be counted again, and a package is not to be had.
    """
    tally = require_tally(lake, spec, day)
    return tally, ensure_rows(lake, spec, tally.manifest, packages)


def ensure_rows(
    lake: Lake, spec: ModelSpec, manifest: Manifest, packages: PackageSource, sums: DaySums | None = None
) -> ProfileRow:
    """The row of the model that answers for the tally; all rows of the tally then stand.

    Args:
        lake: Where the tables live.
        spec: Whose tally.
        manifest: Of the tally.
        packages: Asked only where the rows must be counted again.
        sums: What this run counted; None when it did not score.

    Raises:
        PackageError: The rows must be counted again, and a package is not to be had.
    """
    wanted = {manifest.profile_digest, *(one.profile_digest for one in manifest.roles if one.profile_digest)}
    rows = read_profiles(lake, spec, manifest)
    if rows.keys() != wanted:
        if sums is None or profile_digest(sums.profile) != manifest.profile_digest:
            sums = count_again(lake, spec, manifest, packages)
        made = list(_rows(manifest, sums))
        write_profiles(lake, spec, made)
        return made[0]
    return rows[manifest.profile_digest]


def count_again(lake: Lake, spec: ModelSpec, manifest: Manifest, packages: PackageSource) -> DaySums:
    """Counts a tally from its pinned input and its models; exact, so the very same profiles.

    Raises:
        PackageError: A package is not to be had.
    """
    silent = {(one.role, one.version) for one in manifest.roles if one.note}
    models = tuple(ref for ref in manifest.models if (ref.role, ref.version) not in silent)
    found = {ref.digest: packages(ref) for ref in models if not ref.is_constant}
    committed = _as_committed(spec, manifest)
    job = job_for(committed, lake, manifest.input, ModelSet.of(models, found, committed))
    splits, _ = pinned_files(lake, manifest.input)
    return profile_again(job, splits, found)


def _as_committed(spec: ModelSpec, manifest: Manifest) -> ModelSpec:
    """The spec with the scoring section of the tally; today's, for tallies that did not keep theirs."""
    if not manifest.scoring_json:
        return spec
    return spec.model_copy(update={"scoring": Scoring.model_validate_json(manifest.scoring_json)})


def _rows(manifest: Manifest, sums: DaySums) -> Iterator[ProfileRow]:
    """The rows that the manifest speaks of, the primary model's first."""
    primary = manifest.primary
    yield row_of(manifest, primary.role, primary.version, sums.profile)
    for one in manifest.roles:
        profile: Profile | None = sums.profiles.get(label_of(one.role, one.version))
        if profile is not None and one.profile_digest:
            yield row_of(manifest, one.role, one.version, profile)
