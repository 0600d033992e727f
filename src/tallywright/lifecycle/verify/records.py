"""Verifies what the records of a model say of one another: inputs, tallies, profiles, promotions, gates, packages."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.data.delta.damage import remedy_for_gone
from tallywright.data.delta.generation import generation_of
from tallywright.data.delta.history import commits
from tallywright.data.delta.table import Table
from tallywright.data.etl.label_readings import label_readings
from tallywright.data.etl.reading import written_content
from tallywright.data.fingerprint import digest
from tallywright.data.inputs.files import stored_digest
from tallywright.data.inputs.versions import INPUTS, committed_input, recorded_input
from tallywright.errors import TallyError
from tallywright.gates.record import day_subject, reports
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.verify.findings import Defect, defect
from tallywright.registry.promotion_log import PromotionLog, champion_lines
from tallywright.registry.versions_table import recorded_versions
from tallywright.scoring.commit.manifests import latest_tally, logged_tallies, recorded_tallies
from tallywright.scoring.commit.profile_table import read_profiles
from tallywright.scoring.commit.standing import standing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.data.etl.label_readings import LabelReading
    from tallywright.data.etl.reading import WrittenContent
    from tallywright.records import ModelRef
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.spec import ModelSpec, Project

    _Tallies = dict[tuple[date, int], Tally]


def verify_inputs(lake: Lake, spec: ModelSpec, days: list[date], *, deep: bool) -> Iterator[Defect]:
    """Yields the dates whose features are not what ingest recorded; `deep` compares the content of all of them."""
    table = spec.table("features")
    base = lake.find(table)
    if base is None:
        return
    for day in days:
        try:
            recorded, found = recorded_input(lake, spec, day, base), committed_input(lake, spec, day, base)
            if found is None:
                yield defect(table, "nobody has ingested its rows", day)
            elif recorded is None:
                yield defect(spec.table("inputs"), "there is no record of the date", day)
            elif recorded.fingerprint != found.fingerprint or (
                deep and stored_digest(lake, spec, day, base).hex != recorded.fingerprint
            ):
                yield defect(table, "its rows are not those that were ingested", day)
        except TallyError as error:
            yield Defect(what=table, score_date=day, problem=error.found, remedy=error.remedy)


def verify_tallies(lake: Lake, spec: ModelSpec, tallies: list[Tally], *, deep: bool) -> Iterator[Defect]:
    """Yields the scored dates whose rows, records or profiles are not those of the tally."""
    table = spec.table("scores")
    recorded = _by_generation(recorded_tallies(lake, spec))
    logged = _by_generation(logged_tallies(lake, lake.look(table)) if lake.find(table) is not None else ())
    for tally in tallies:
        manifest, day = tally.manifest, tally.manifest.score_date
        try:
            problem = standing_of(lake, spec, tally).problem
            if problem:
                yield defect(table, problem, day)
            elif problem := _in_log(lake, spec, tally, recorded, logged):
                yield defect(table, problem, day, f"tally score {spec.name} --date {day} --force")
            elif deep:
                keys = lake.read(table, where={"score_date": day}, columns=list(spec.data.key))
                if digest(keys, spec.data.key).hex != manifest.key_digest:
                    yield defect(table, "its keys are not those of the tally", day)
            if (day, manifest.generation) not in recorded:
                score = f"tally score {spec.name} --date {day}"
                yield defect(spec.table("tallies"), f"generation {manifest.generation} is not recorded", day, score)
            wanted = {manifest.profile_digest, *(one.profile_digest for one in manifest.roles if one.profile_digest)}
            if read_profiles(lake, spec, manifest).keys() != wanted:
                again = f"tally run {spec.name} profile --date {day}"
                yield defect(spec.table("profile"), "it is not the profile that was counted", day, again)
            if not reports(lake, spec, subject=day_subject(manifest.input)):
                gate = f"tally run {spec.name} day-gate --date {day}"
                yield defect(spec.table("gates"), "the day gate's report about the scored input is gone", day, gate)
        except TallyError as error:
            yield Defect(what=table, score_date=day, problem=error.found, remedy=error.remedy)


def _by_generation(tallies: Iterable[Tally]) -> _Tallies:
    return {(tally.manifest.score_date, tally.manifest.generation): tally for tally in tallies}


def _in_log(lake: Lake, spec: ModelSpec, tally: Tally, recorded: _Tallies, logged: _Tallies) -> str:
    """Says what the log of the scores has otherwise than the tally's record; empty when nothing."""
    day, generation = tally.manifest.score_date, tally.manifest.generation
    number = generation_of(lake, spec, day)
    if number != generation:
        newest = latest_tally(lake, spec, day)  # it may have been scored again meanwhile
        if newest is None or newest.manifest.generation < generation:
            return f"the log numbers it generation {number}, its newest tally is generation {generation}"
    kept, told = recorded.get((day, generation)), logged.get((day, generation))
    if kept is not None and told is not None and kept.manifest != told.manifest:
        return f"the manifest of generation {generation} in the log is not the one that was recorded"
    return ""


def verify_labels(lake: Lake, spec: ModelSpec, wanted: Callable[[date], bool], *, deep: bool) -> Iterator[Defect]:
    """Yields the dates whose labels are not those of their last reading; `deep` compares the content of all of them.

    The commit of a date says which labels it wrote, and the reading is recorded after it: a commit that is newer than
    the reading is of a run that was killed before it could record it, or goes on.
    """
    table = spec.table("labels")
    readings = label_readings(lake, spec)  # before the table: labels are written before they are recorded
    handle = lake.find(table)
    if handle is None:
        if readings:
            yield defect(table, "the table is gone, and its labels were read", remedy=remedy_for_gone(table))
        return
    written, whole = _written_labels(lake, handle)
    counts: Counter[date | None] = Counter()
    for file in lake.files(table, version=handle):
        counts[file.day] += file.rows
    for day in filter(wanted, readings):
        if day in written:
            problem = _of_labels(readings[day], written[day], counts[day])
            if deep and not problem:
                stored = lake.read(table, where={"score_date": day}, version=handle)
                same = digest(stored, stored.column_names).hex == written[day].fingerprint
                problem = "" if same else "its labels are not those that were committed"
        else:  # a reading is recorded after the commit that it is of
            problem = "its labels were read, and are gone" if whole else ""
        if problem:
            yield defect(table, problem, day)


def _of_labels(reading: LabelReading, written: WrittenContent, count: int) -> str:
    """Says what is wrong with so many labels of a date, last read and last written so; empty when nothing is."""
    if count != written.rows:
        return f"it has {count} labels, committed were {written.rows}"
    if written.fingerprint != reading.fingerprint and written.at <= reading.recorded_at:
        return "its labels are older than those that were last read"
    return ""


def _written_labels(lake: Lake, handle: DeltaTable) -> tuple[dict[date, WrittenContent], bool]:
    """What was written of each date's labels last; and whether the log is whole."""
    found: dict[date, WrittenContent] = {}
    version = -1
    for commit in commits(lake, handle):
        version = commit["version"]
        written = written_content(commit)
        if written is not None:
            found.setdefault(written.day, written)
    return found, version == 0


def verify_promotions(lake: Lake, spec: ModelSpec, tallies: list[Tally]) -> Iterator[Defect]:
    """Yields what is wrong with the promotion log: its chain, its decisions, champions of tallies that it lacks."""
    log, table = PromotionLog(lake, spec), spec.table("promotions")
    for found in log.problems():
        yield defect(table, str(found))
    entries = log.stored()
    known = {(entry.model_version, entry.package_digest) for entry in champion_lines(entries)}
    for tally in tallies:
        champion = tally.manifest.primary
        if champion.effective_from is not None and (champion.version, champion.digest) not in known:
            problem = f"version {champion.version} scored the date as champion, and no entry promotes it"
            yield defect(table, problem, tally.manifest.score_date, f"tally verify {spec.name} --repair")
    newest = max((tally.manifest.promotion_sequence or 0 for tally in tallies), default=0)
    if newest > len(entries):
        yield defect(table, f"entry {newest} is missing: a tally was made by it, and the log ends with {len(entries)}")
    versions = recorded_versions(lake, spec)
    for entry in entries:
        row = versions.get(entry.model_version)
        if row is not None and row.package_digest != entry.package_digest:
            yield defect(spec.table("versions"), f"version {entry.model_version} has another digest than was promoted")
        if entry.decision_json and not reports(lake, spec, subject=entry.package_digest):
            problem = f"the reports about version {entry.model_version}, which entry {entry.sequence} names, are gone"
            yield defect(spec.table("gates"), problem)


def verify_packages(project: Project, tallies: list[Tally], *, deep: bool) -> Iterator[Defect]:
    """Yields the packages of promoted and scoring versions that are not what was registered.

    `deep` takes each from the registry; else this machine's cached one is enough.
    """
    refs: dict[str, ModelRef] = {}
    for tally in tallies:
        refs |= {ref.digest: ref for ref in tally.manifest.models if not ref.is_constant}
    for ref in refs.values():
        try:
            if deep:
                from tallywright.registry.versions import fetch

                with tempfile.TemporaryDirectory() as folder:
                    fetch(project, ref.version, ref.digest, into=Path(folder))
            else:
                package_of(project, ref)
        except TallyError as error:
            yield Defect(what="packages", problem=f"version {ref.version}: {error.found}", remedy=error.remedy)


def verify_aliases(project: Project, lake: Lake) -> Iterator[Defect]:
    """Yields the registry's aliases that do not name the versions that the promotion log says.

    Raises:
        TrackingError: The registry is missing or away.
    """
    from tallywright.registry.numbers import log_for_aliases
    from tallywright.registry.versions import stale_aliases

    for stale in stale_aliases(project, log_for_aliases(project, lake)):
        remedy = f"tally verify {project.spec.name} --repair"
        yield Defect(what="registry", problem=f"{project.spec.registered_name}: {stale}", remedy=remedy)


def ingested_days(lake: Lake, spec: ModelSpec) -> list[date]:
    """The dates that were ingested, by their records and by the table of features."""
    recorded = {row["score_date"] for row in Table(INPUTS, lake, spec).rows(columns=["score_date"])}
    table = spec.table("features")
    if lake.find(table) is not None:
        recorded |= {file.day for file in lake.files(table) if file.day is not None}
    return sorted(recorded)
