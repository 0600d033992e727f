"""Finds the committed tally of a day: its generation by the app transaction, its manifest in a row or in the log.

Commit information goes with the log's cleanup, so each manifest is also a row of `<model>__tallies`. A crash between
commit and row is no loss: readers fall back to the log, and the next scoring run writes the row.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from tallywright.data.delta.history import commits
from tallywright.data.delta.standing import Files, files_json, files_of_json
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import InputError
from tallywright.records import CommittedFile, Manifest, PeriodRecord, Record
from tallywright.scoring.commit.scores_table import generation_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec

MANIFEST_KEY: Final = "userMetadata"


class TallyRow(PeriodRecord):
    """One row of `<model>__tallies`."""

    score_date: date
    generation: int
    version: int
    reason: str
    rows: int
    model_versions: str
    input_version: int
    input_fingerprint: str
    inputs_digest: str
    key_digest: str
    profile_digest: str
    engine: str
    run_id: str
    code_version: str
    committed_at: datetime
    manifest_json: str
    files_json: str | None = None
    """The files that hold its rows, where they are not those of the commit."""


TALLIES: Final = Declaration(
    what="tallies",
    record=TallyRow,
    key=("score_date", "generation"),
    slice=("score_date", "generation"),
    kind=Kind.SLICE,
    doc="every committed tally with its manifest: what was scored, from what, by whom",
)


class Tally(Record):
    """A committed tally: its manifest, and the version of the scores table that it made.

    `recorded` are the files that were found to hold its rows later on; none where they are those of the commit.
    """

    manifest: Manifest
    version: int
    recorded: tuple[CommittedFile, ...] = ()

    @property
    def files(self) -> Files:
        """The files that hold its rows, as far as is known; none in older tallies."""
        return self.recorded or self.manifest.files

    def held_by(self, files: Files) -> Tally:
        """The tally with the files that were found to hold its rows."""
        return self.model_copy(update={"recorded": () if files == self.manifest.files else files})


def latest_tally(lake: Lake, spec: ModelSpec, day: date, *, table: DeltaTable | None = None) -> Tally | None:
    """The latest tally of a day; None when the day was never scored (or row and log of it were both lost).

    Args:
        lake: Where the tables live.
        spec: Whose tally.
        day: The score date.
        table: An open handle of the scores table, to look at the same version as the caller.
    """
    if table is None:
        table = lake.find(spec.table("scores"))
    if table is None:
        return None
    generation = generation_in(table, spec, day)
    if not generation:
        return None
    for tally in recorded_tallies(lake, spec, day):
        if tally.manifest.generation == generation:
            return tally
    return next((tally for tally in logged_tallies(lake, table, day) if tally.manifest.generation == generation), None)


def require_tally(lake: Lake, spec: ModelSpec, day: date) -> Tally:
    """The latest tally of a day; raises when there is none.

    Raises:
        InputError: The day was never scored.
    """
    tally = latest_tally(lake, spec, day)
    if tally is None:
        raise InputError(f"{spec.name} has no tally of {day}", remedy=f"tally score {spec.name} --date {day}")
    return tally


def latest_manifest(lake: Lake, spec: ModelSpec, day: date) -> Manifest | None:
    """The manifest of the latest tally of a day; None when there is none."""
    tally = latest_tally(lake, spec, day)
    return tally.manifest if tally else None


def manifests(lake: Lake, spec: ModelSpec) -> list[Manifest]:
    """The latest manifest of every scored day, by date; one whose row a crash prevented comes from the log."""
    return [tally.manifest for tally in latest_tallies(lake, spec)]


def latest_tallies(lake: Lake, spec: ModelSpec) -> list[Tally]:
    """The latest tally of every scored day, by date; one whose row a crash prevented comes from the log."""
    scores = lake.find(spec.table("scores"))
    if scores is None:
        return []
    latest: dict[date, Tally] = {}
    for tally in [*recorded_tallies(lake, spec), *logged_tallies(lake, scores)]:
        known = latest.get(tally.manifest.score_date)
        if known is None or known.manifest.generation < tally.manifest.generation:
            latest[tally.manifest.score_date] = tally
    return [latest[day] for day in sorted(latest)]


def tallies_in(lake: Lake, spec: ModelSpec, table: DeltaTable, days: Collection[date]) -> dict[date, Tally]:
    """The tallies of some days as they stand in one version of the scores table; days without one are left out."""
    generations = {day: generation_in(table, spec, day) for day in days}
    found = {
        tally.manifest.score_date: tally
        for tally in recorded_tallies(lake, spec, *(days if len(days) == 1 else ()))
        if generations.get(tally.manifest.score_date) == tally.manifest.generation
    }
    for day in (day for day, generation in generations.items() if generation and day not in found):
        tally = latest_tally(lake, spec, day, table=table)
        if tally is not None:
            found[day] = tally
    return found


def scored_dates(lake: Lake, spec: ModelSpec) -> set[date]:
    """The dates that have a tally; manifests are read only of dates whose tally a crash kept out of the table.

    Partitions alone do not tell: rows of a scored date may have been lost, and another writer's rows have no tally.
    """
    recorded = {row["score_date"] for row in Table(TALLIES, lake, spec).rows(columns=["score_date"])}
    table = spec.table("scores")
    if lake.find(table) is None:
        return recorded
    others = {file.day for file in lake.files(table) if file.day is not None} - recorded
    return recorded | {day for day in others if latest_tally(lake, spec, day) is not None}


def recorded_tallies(lake: Lake, spec: ModelSpec, day: date | None = None) -> list[Tally]:
    """The rows of `<model>__tallies`, of one day or of all."""
    where = {} if day is None else {"score_date": day}
    rows = Table(TALLIES, lake, spec).rows(where, ["version", "manifest_json", "files_json"])
    return [
        Tally(
            manifest=Manifest.from_json(row["manifest_json"]),
            version=row["version"],
            recorded=files_of_json(row.get("files_json")),
        )
        for row in rows
    ]


def logged_tallies(lake: Lake, table: DeltaTable, day: date | None = None) -> Iterator[Tally]:
    """Yields the tallies in the log of a scores table up to the handle's version, newest first."""
    for commit in commits(lake, table):
        manifest = _manifest_in(commit)
        if manifest is not None and (day is None or manifest.score_date == day):
            yield Tally(manifest=manifest, version=commit["version"])


def record_tally(lake: Lake, spec: ModelSpec, tally: Tally) -> bool:
    """Writes the tally's row unless it is there; returns True when it wrote."""
    manifest = tally.manifest
    recorded = recorded_tallies(lake, spec, manifest.score_date)
    if any(known.manifest == manifest and known.files == tally.files for known in recorded):
        return False
    Table(TALLIES, lake, spec).replace([_row(tally)])
    return True


def _row(tally: Tally) -> TallyRow:
    manifest = tally.manifest
    same = ("score_date", "generation", "reason", "rows", "key_digest", "profile_digest", "engine", "run_id")
    return TallyRow(
        **{name: getattr(manifest, name) for name in same},
        version=tally.version,
        model_versions=" ".join(f"{ref.role}:{ref.name}:{ref.version}" for ref in manifest.models),
        input_version=manifest.input.version,
        input_fingerprint=manifest.input.fingerprint,
        inputs_digest=manifest.inputs_digest,
        code_version=manifest.code_version,
        committed_at=_utc(manifest.committed_at),
        manifest_json=manifest.to_json(),
        files_json=files_json(tally.recorded) if tally.recorded else None,
    )


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _manifest_in(commit: dict[str, Any]) -> Manifest | None:
    """The manifest of a commit; None for one that is no tally (a new column, a compaction, another writer's)."""
    try:
        return Manifest.from_json(str(commit.get(MANIFEST_KEY, "")))
    except ValidationError:
        return None
