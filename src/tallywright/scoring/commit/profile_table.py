"""The profile row of a tally: follows the commit, keyed by it, and can always be rebuilt from input and package."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.delta.rows import one_row
from tallywright.profiles.profile import Profile
from tallywright.records import Manifest, Record, Role, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.delta.lake import Lake
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


def read_profile(lake: Lake, spec: ModelSpec, manifest: Manifest) -> ProfileRow | None:
    """The row of the model that answers for a tally, or None where it was not written yet (or is another's)."""
    return read_profiles(lake, spec, manifest).get(manifest.profile_digest)


def read_profiles(lake: Lake, spec: ModelSpec, manifest: Manifest) -> dict[str, ProfileRow]:
    """The rows of a tally by the digest of their profile; rows that the commit does not speak of are left out."""
    name = spec.table("profile")
    if not lake.exists(name):
        return {}
    found = lake.read(name, where={"score_date": manifest.score_date, "generation": manifest.generation})
    rows = [ProfileRow.model_validate(row) for row in found.select(_SCHEMA.names).to_pylist()]
    wanted = {manifest.profile_digest, *(one.profile_digest for one in manifest.roles)}
    by_digest = {digest_of(row.profile_json): row for row in rows}
    return {digest: row for digest, row in by_digest.items() if digest in wanted}


def write_profiles(lake: Lake, spec: ModelSpec, rows: Sequence[ProfileRow]) -> None:
    """Writes (or replaces) all rows of a tally, in one commit."""
    first = rows[0]
    lake.replace(
        spec.table("profile"),
        pa.concat_tables([one_row(row.model_dump(), _SCHEMA) for row in rows]),
        slice={"score_date": first.score_date, "generation": first.generation},
    )
