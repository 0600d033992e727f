"""The profile row of a tally: follows the commit, keyed by it, and can always be rebuilt from input and package."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.profiles.profile import Profile
from tallywright.records import Manifest, Record, digest_of
from tallywright.scoring.one_row import one_row

if TYPE_CHECKING:
    from tallywright.data.lake import Lake
    from tallywright.spec.model import ModelSpec

_SCHEMA: Final = pa.schema(
    [
        ("score_date", pa.date32()),
        ("generation", pa.int64()),
        ("model_version", pa.int64()),
        ("role", pa.string()),
        ("definition_digest", pa.string()),
        ("rows", pa.int64()),
        ("mean_score", pa.float64()),
        ("profile_json", pa.string()),
    ]
)


class ProfileRow(Record):
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


def profile_digest(profile: Profile) -> str:
    """What the manifest remembers of a profile."""
    return digest_of(profile.to_json())


def row_of(manifest: Manifest, profile: Profile) -> ProfileRow:
    """The row of a tally's champion."""
    ref = manifest.models[0]
    return ProfileRow(
        score_date=manifest.score_date,
        generation=manifest.generation,
        model_version=ref.version,
        role=ref.role.value,
        definition_digest=profile.definition_digest,
        rows=profile.rows,
        mean_score=profile.score.mean or 0.0,
        profile_json=profile.to_json(),
    )


def read_profile(lake: Lake, spec: ModelSpec, manifest: Manifest) -> ProfileRow | None:
    """The row of a tally, or None where it was not written yet (or is not the one the commit speaks of)."""
    name = spec.table("profile")
    if not lake.exists(name):
        return None
    found = lake.read(name, where={"score_date": manifest.score_date, "generation": manifest.generation})
    rows = [ProfileRow.model_validate(row) for row in found.select(_SCHEMA.names).to_pylist()]
    return next((row for row in rows if digest_of(row.profile_json) == manifest.profile_digest), None)


def write_profile(lake: Lake, spec: ModelSpec, row: ProfileRow) -> None:
    """Writes (or replaces) the row."""
    lake.replace(
        spec.table("profile"),
        one_row(row.model_dump(), _SCHEMA),
        slice={"score_date": row.score_date, "generation": row.generation},
    )
