"""The datasets of a step: tables with version, schema and rows of its period, raw files, model versions, checks."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tallywright.data.delta.schema import arrow_schema
from tallywright.data.delta.table import Table
from tallywright.data.inputs.versions import INPUTS
from tallywright.data.raw.files import locate
from tallywright.errors import TallyError
from tallywright.gates.record import GATES as GATE_REPORTS
from tallywright.lifecycle.lineage.flows import BY_PERIOD, CANDIDATE, DOCUMENTATION, FLOWS, GATES, MODEL, RAW, Flow
from tallywright.lifecycle.lineage.naming import Name, file_name, model_name
from tallywright.observability import log
from tallywright.packaging.package import PackageCache
from tallywright.records import Verdict
from tallywright.scoring.commit.manifests import latest_manifest, manifests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date

    from tallywright.gates.record import GateRow
    from tallywright.lifecycle.context import RunContext
    from tallywright.records import Manifest

T = TypeVar("T")
_MOST_FILES: Final = 100
"""Raw files of a source that are named one by one; of more, the place where they lie."""
_OF_PRODUCTION: Final = frozenset({"features", "labels", "promotions"})
"""The tables that are read where production has them."""
_ABOUT_PERIODS: Final = frozenset({"ingest", "day_gate", "score", "profile", "labels", "backfill"})
"""The steps that read or write the rows of their own periods, and of no others."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of a gate."""

    name: str
    met: bool
    blocks: bool
    observed: str
    bound: str
    evidence: str
    column: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something that a step reads or writes; what is None or empty is not known, or is none."""

    name: Name
    is_table: bool = False
    version: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    description: str = ""
    rows: int | None = None
    size: int | None = None
    files: int | None = None
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Datasets:
    """The datasets of a run of a step.

    Attributes:
        context: Of the run.
        step: Its name.
        last: The last period that it is about; the first is the context's.
        result: What the step returned; None before its end, and where it failed.
    """

    context: RunContext
    step: str
    last: date
    result: Mapping[str, Any] | None = None

    def inputs(self) -> list[Dataset]:
        """What it reads."""
        pinned: dict[str, int] = _unless_failed(self._pinned) or {}
        found = [(what, one) for what in self._flow.reads for one in self._of(what, pinned)]
        about = GATES.get(self.step)
        checks = (_unless_failed(self._checks) or ()) if about else ()
        return [replace(one, checks=checks) if what == about else one for what, one in found]

    def outputs(self) -> list[Dataset]:
        """What it has written, as far as it is there; nothing before its end."""
        if self.result is None:
            return []
        return [one for what in self._flow.writes for one in self._of(what, {})]

    @property
    def _flow(self) -> Flow:
        """A closed period has none; a step that is not listed is told of without datasets."""
        is_closed = (self.result or {}).get("action") == "closed"
        return Flow() if is_closed else FLOWS.get(self.step, Flow())

    def _of(self, what: str, pinned: Mapping[str, int]) -> list[Dataset]:
        """The datasets of a name."""
        named = {RAW: self._raw_files, MODEL: self._models, CANDIDATE: self._candidate}
        ask = named.get(what) or partial(self._table, what, pinned.get(what))
        return _unless_failed(lambda: list(ask())) or []

    def _is_inside(self, period: date | None) -> bool:
        return period is not None and self.context.day <= period <= self.last

    # ---- tables ----

    def _table(self, what: str, version: int | None) -> Iterator[Dataset]:
        """One of the model's tables, with the rows and bytes of the run's periods; nothing where it is not there."""
        context = self.context
        table = context.spec.table(what)
        lake = context.production.lake if what in _OF_PRODUCTION else context.lake
        handle = lake.find(table)
        if handle is None:
            return
        found = Dataset(
            name=file_name(lake.uri(table)),
            is_table=True,
            # Of a range, rows may wait for the commit that they share.
            version="" if lake.pending_of(table) else str(handle.version() if version is None else version),
            columns=tuple((field.name, str(field.type)) for field in arrow_schema(handle)),
            description=DOCUMENTATION.get(what, ""),
        )
        if what in BY_PERIOD and self.step in _ABOUT_PERIODS:
            files = [file for file in lake.files(table, version=handle) if self._is_inside(file.day)]
            rows, size = sum(one.rows for one in files), sum(one.size for one in files)
            found = replace(found, rows=rows, size=size, files=len(files))
        yield found

    def _pinned(self) -> dict[str, int]:
        """The versions of tables that the step reads, where it is not the newest: those of its period, or snapshot."""
        if self.step in ("day_gate", "score", "profile"):
            rows = Table(INPUTS, self.context.lake, self.context.spec).read({"score_date": self.context.day})
            scored = [one.input.version for one in self._tallies()] if self.step == "score" else []
            versions = [*(row.version for row in rows), *scored]
            return {"features": versions[-1]} if versions else {}
        snapshot = self.result if self.step == "snapshot" else self._snapshot()
        return {name: int(snapshot[name]["version"]) for name in ("features", "labels")} if snapshot else {}

    def _snapshot(self) -> Mapping[str, Any] | None:
        """The snapshot of the run's package, where this step has it at hand."""
        digest = self._digest()
        if not digest or self.step not in ("train", "quality_gate"):
            return None
        package = PackageCache(self.context.folder / "packages").get(digest)
        snapshot: Mapping[str, Any] | None = None if package is None else json.loads(package.meta.snapshot_json)
        return snapshot

    # ---- raw files ----

    def _raw_files(self) -> Iterator[Dataset]:
        """The files that the period was ingested from, by its record; of other steps all files of the sources."""
        project, given = self.context.project, None
        if self.step in ("ingest", "backfill"):
            if self.result is None:
                return
            given = self._given()
        for source, settings in sorted(project.spec.data.sources.items()):
            located = locate(source, settings, project.folder)
            names = [located.name_of(file) for file in located.files]
            if given is not None:
                names = [name for name in names if (source, name) in given]
            files = [located.base / name for name in names]
            for file in files if len(files) <= _MOST_FILES else [located.base / settings.path]:
                rows = (given or {}).get((source, located.name_of(file)))
                size = file.stat().st_size if file.is_file() else None
                yield Dataset(file_name(str(file)), description=f"source {source}", rows=rows, size=size)

    def _given(self) -> dict[tuple[str, str], int | None] | None:
        """Rows by source and file, by the records of the periods; None where one does not say."""
        found: dict[tuple[str, str], int | None] = {}
        for row in Table(INPUTS, self.context.lake, self.context.spec).read():
            if self._is_inside(row.score_date):
                if row.raw_files is None or not all(one.file for one in row.raw_files):
                    return None
                for one in row.raw_files:
                    before = 0 if one.whole else found.get((one.source, one.file), 0)
                    known = before is not None and one.rows is not None
                    found[one.source, one.file] = (before or 0) + (one.rows or 0) if known else None
        return found

    # ---- models ----

    def _models(self) -> Iterator[Dataset]:
        """The versions that the step is about, each a dataset of its own: scores say which one made them."""
        context, result = self.context, self.result or {}
        versions: dict[int, str] = {}
        if self.step in ("register", "arrive") and "digest" in result:
            versions = {result["version"]: result["digest"]}
        elif self.step == "promote":
            asked = result.get("model_version") or context.options.version
            versions = {asked: result.get("package_digest", "")} if asked else {}
        else:
            versions = {one.version: one.digest for tally in self._tallies() for one in tally.models if one.version}
        spec, tracking = context.spec, context.project.environment.tracking.uri
        for version, digest in sorted(versions.items()):
            name = model_name(tracking, spec.registered_name)
            name = replace(name, name=f"{name.name}/{version}")
            yield Dataset(name, version=digest or str(version), description=spec.description)

    def _tallies(self) -> list[Manifest]:
        """What was scored of the periods; nothing before the step's end."""
        if self.result is None:
            return []
        if self.last == self.context.day:
            manifest = latest_manifest(self.context.lake, self.context.spec, self.context.day)
            return [] if manifest is None else [manifest]
        return [one for one in manifests(self.context.lake, self.context.spec) if self._is_inside(one.score_date)]

    def _candidate(self) -> Iterator[Dataset]:
        spec, tracking = self.context.spec, self.context.project.environment.tracking.uri
        name = model_name(tracking, spec.registered_name, kind="candidates")
        yield Dataset(name, version=self._digest(), description=f"Packages before registration. {spec.description}")

    def _digest(self) -> str:
        """The digest of the package that the step is about; empty where its result does not say."""
        result = self.result or {}
        found = result.get("digest") or result.get("subject") or ""
        return str(found)

    # ---- gates ----

    def _checks(self) -> tuple[CheckResult, ...]:
        """The checks of the gate: those that this run has recorded, else those that it found to stand."""
        context, gate = self.context, self.step.removesuffix("_gate")
        of_day = f"{context.day}@" if gate == "day" else ""
        table = Table(GATE_REPORTS, context.lake, context.spec)
        rows = table.read({"run_id": context.run_id})
        rows = [row for row in rows if row.gate == gate and row.subject.startswith(of_day)]
        if not rows and self.result is not None:
            rows = [row for row in table.read({"subject": self.result["subject"]}) if row.gate == gate]
        newest = max(rows, key=lambda row: (row.sequence or 0, row.recorded_at), default=None)
        return tuple(
            _check(row, context.spec.data.columns) for row in rows if newest and row.report_id == newest.report_id
        )


def _unless_failed(ask: Callable[[], T]) -> T | None:
    """What is asked; None where it cannot be looked at: the step may have failed by that, which is to be told."""
    try:
        return ask()
    except (TallyError, OSError) as error:
        log.debug("lineage lacks something: %s", error)
        return None


def _check(row: GateRow, columns: Mapping[str, str]) -> CheckResult:
    kind, _, rest = row.check_name.partition("(")
    column = rest.removesuffix(")")
    observed = row.observed_text if row.observed_number is None else f"{row.observed_number:g}"
    met = row.verdict == Verdict.PASS.value if row.found is None else row.found == Verdict.PASS.value
    return CheckResult(
        name=kind if column in columns or not column else row.check_name,
        met=met,
        blocks=row.verdict not in (Verdict.WARN.value, Verdict.NOTE.value),
        observed=observed or "",
        bound=row.bound,
        evidence=row.evidence,
        column=column if column in columns else "",
    )
