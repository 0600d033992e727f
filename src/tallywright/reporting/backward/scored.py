"""What was ever scored: the rows of each model and role, in each generation of each day, from the manifests alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.scoring.commit.manifests import logged_tallies, recorded_tallies
from tallywright.scoring.commit.scores_table import generation_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.records import InputVersion, Manifest, Role
    from tallywright.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """The rows that one model scored in one role, in one generation of a day."""

    day: date
    generation: int
    stands: bool
    """False where a later generation has replaced it."""
    role: Role
    version: int
    rows: int
    """Of a shadow, those of the table of shadows."""
    input: InputVersion
    code_version: str


def scored_parts(lake: Lake, spec: ModelSpec) -> list[ScoredPart]:
    """All parts of all generations, by day; of days whose row a crash prevented they come from the log.

    Raises:
        StorageError: The lake cannot be read.
    """
    table = lake.find(spec.table("scores"))
    if table is None:
        return []
    found = {_place(one.manifest): one.manifest for one in recorded_tallies(lake, spec)}
    days = {day for day, _ in found} | {file.day for file in lake.files(spec.table("scores"), version=table)}
    standing = {day: generation_in(table, spec, day) for day in days if day is not None}
    if any(generation and (day, generation) not in found for day, generation in standing.items()):
        found |= {
            place: one.manifest for one in logged_tallies(lake, table) if (place := _place(one.manifest)) not in found
        }
    return [
        part
        for day, generation in sorted(found, key=lambda place: (place[0], place[1]))
        for part in _parts(found[day, generation], stands=standing.get(day) == generation)
    ]


def _place(manifest: Manifest) -> tuple[date, int]:
    return manifest.score_date, manifest.generation


def _parts(manifest: Manifest, *, stands: bool) -> Iterator[ScoredPart]:
    scored = [(one.role, one.version, one.rows) for one in manifest.roles if one.rows]
    if not manifest.roles:  # of the time when only champions scored
        scored = [(manifest.primary.role, manifest.primary.version, manifest.rows)]
    for role, version, rows in scored:
        yield ScoredPart(
            day=manifest.score_date,
            generation=manifest.generation,
            stands=stands,
            role=role,
            version=version,
            rows=rows,
            input=manifest.input,
            code_version=manifest.code_version,
        )
