"""The rows of `<model>__profile`: written after the tally's commit, and rebuilt from input and package if missing."""

from __future__ import annotations

from datetime import date
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.profiles.profile import Profile
from tallywright.records import Manifest, PeriodRecord, Role, digest_of
from tallywright.score_period import Hour, date_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec


class ProfileRow(PeriodRecord):
    """One row of `<model>__profile`."""

    score_date: date
    generation: int
    model_version: int
    role: str
    definition_digest: str
    rows: int
    mean_score: float
    profile_json: str

    @property
    def profile(self) -> Profile:
        """The profile itself."""
        return Profile.from_json(self.profile_json)


PROFILE: Final = Declaration(
    what="profile",
    record=ProfileRow,
    key=("score_date", "generation", "model_version", "role"),
    slice=("score_date", "generation"),
    kind=Kind.SLICE,
    doc="the profile of the columns and scores of each tally, counted while it was scored",
)


def profile_digest(profile: Profile) -> str:
    """The digest of a profile, as the manifest has it."""
    return digest_of(profile.to_json())


def row_of(manifest: Manifest, role: Role, version: int, profile: Profile) -> ProfileRow:
    """The row of one model of a tally."""
    return ProfileRow(
        score_date=manifest.score_date,
        generation=manifest.generation,
        model_version=version,
        role=role.value,
        definition_digest=profile.definition_digest,
        rows=profile.rows,
        mean_score=profile.score.mean or 0.0,
        profile_json=profile.to_json(),
    )


def read_profiles(lake: Lake, spec: ModelSpec, manifest: Manifest) -> dict[str, ProfileRow]:
    """The rows of a tally by the digest of their profile; rows whose digest is not in the manifest are left out."""
    rows = Table(PROFILE, lake, spec).read({"score_date": manifest.score_date, "generation": manifest.generation})
    wanted = {manifest.profile_digest, *(one.profile_digest for one in manifest.roles)}
    by_digest = {digest_of(row.profile_json): row for row in rows}
    return {digest: row for digest, row in by_digest.items() if digest in wanted}


def profile_of_date(lake: Lake, spec: ModelSpec, row: ProfileRow) -> tuple[Profile, date]:
    """The profile of all hours of a date up to one, by the same model, and the first of them.

    Of another period it is its own profile: only hours are parts of the unit of evidence.
    """
    if not isinstance(row.score_date, Hour):
        return row.profile, row.score_date
    same = ("model_version", "role", "definition_digest")
    latest: dict[date, ProfileRow] = {row.score_date: row}
    for other in Table(PROFILE, lake, spec).read({"score_date": date_of(row.score_date)}):
        known = latest.get(other.score_date)
        is_newer = other.score_date < row.score_date and (known is None or known.generation < other.generation)
        if is_newer and all(getattr(other, name) == getattr(row, name) for name in same):
            latest[other.score_date] = other
    return reduce(add, (latest[hour].profile for hour in sorted(latest))), min(latest)


def write_profiles(lake: Lake, spec: ModelSpec, rows: Sequence[ProfileRow]) -> None:
    """Writes (or replaces) all rows of a tally, in one commit."""
    Table(PROFILE, lake, spec).replace(rows)
