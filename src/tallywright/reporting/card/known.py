"""What is known of a version: its row, package, gate reports, its lines of the promotion log, its realised days.

A version of before has only some of it, and a package may be lost: a card says so and shows the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.table import Table
from tallywright.data.snapshot import Snapshot
from tallywright.errors import PackageError, TrackingError
from tallywright.gates.record import reports_of_version
from tallywright.lifecycle.context import package_of
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.packaging.meta import ADOPTED
from tallywright.records import QUALITY, REFIT, Role
from tallywright.registry.evidence import Evidence, verdict_of
from tallywright.registry.numbers import log_for_aliases
from tallywright.registry.promotion_log import withdrawals
from tallywright.registry.versions_table import known_versions, no_such_version
from tallywright.reporting.versions import champion_dates, stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import Check, GateReport, Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import ModelSpec, Project
    from tallywright.spec.sections import Costs

_REALISED: Final = (
    "label_age_days", "mature", "role", "slice_key", "metric", "value", "lower", "upper", "rows", "known",
)  # fmt: skip


@dataclass(frozen=True)
class KnownVersion:
    """What is known of a version.

    Attributes:
        spec: The spec of today, whose words a card has.
        row: As the lake has recorded it.
        package: Its verified package; None where it cannot be had.
        lost: Why not.
        reports: The newest report of each gate about it.
        entries: The promotion log; production's, in the numbers of this registry, where versions are only trained here.
        versions: The numbers of all packages that this lake knows, by digest.
        performance: Its realised metrics by day.
    """

    spec: ModelSpec
    row: VersionRow
    package: Package | None
    lost: str
    reports: Mapping[str, GateReport]
    entries: Sequence[Promotion]
    versions: Mapping[str, int]
    performance: Sequence[Mapping[str, Any]]

    @property
    def state(self) -> str:
        """`passed`, `refused` or `undecided`, by the newest reports; of a version of before, as it was registered."""
        if self.reports:
            return verdict_of(self.reports.values(), refitted=REFIT in self.reports).value
        return self.row.verdict or ("passed" if self.row.gates_passed else "undecided")

    @property
    def quality(self) -> GateReport | None:
        """The report of the quality gate."""
        return self.reports.get(QUALITY)

    def quality_checks(self, *names: str) -> list[Check]:
        """The checks of the quality gate whose names begin with one of these, in the report's order."""
        return [] if self.quality is None else [one for one in self.quality.checks if one.name.startswith(names)]

    @cached_property
    def lines(self) -> list[Promotion]:
        """The entries of the log about this version, in their order."""
        mine = (self.row.model_version, self.row.package_digest)
        return [one for one in self.entries if (one.model_version, one.package_digest) == mine]

    @cached_property
    def champion(self) -> list[str]:
        """The dates on which it is champion, as the log stands."""
        return champion_dates(self.entries).get(self.row.model_version, [])

    @cached_property
    def stage(self) -> str:
        """The last stage in which it scores beside a champion, or why it was returned; empty for others."""
        return stages_of(self.entries).get(self.row.model_version, "")

    @cached_property
    def withdrawn(self) -> Promotion | None:
        """The entry that has withdrawn it; None where none has."""
        return withdrawals(self.entries).get(self.row.model_version)

    @cached_property
    def evidence(self) -> Evidence | None:
        """Its evidence as it was registered; None in rows of before, and where it cannot be read."""
        try:
            return Evidence.from_json(self.row.evidence_json) if self.row.evidence_json else None
        except ValueError:
            return None

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """The data that it was trained on; None where nobody has recorded it."""
        text = self.row.snapshot_json or (self.package.meta.snapshot_json if self.package is not None else "")
        try:
            return Snapshot.model_validate_json(text)
        except ValueError:
            return None

    @property
    def adopted(self) -> dict[str, str] | None:
        """Where the file of an adopted version is from; None of one that was fitted here, or without a package."""
        found: dict[str, str] | None = (self.metadata("training_config") or {}).get(ADOPTED)
        return found

    @cached_property
    def costs(self) -> Costs | None:
        """What wrong decisions cost when it was trained; None where nobody said, or its demands cannot be read."""
        try:
            demands = None if self.package is None else self.package.demands
        except PackageError:
            return None
        return None if demands is None else demands.gates.costs

    def metadata(self, name: str) -> Any:
        """A field of the package's metadata; None without a package."""
        return None if self.package is None else getattr(self.package.meta, name)


def known_version(project: Project, lake: Lake, version: int) -> KnownVersion:
    """Collects what is known of a version.

    Raises:
        UsageError: This lake knows no such version.
        IntegrityError: The promotion log was changed.
        StorageError: A table cannot be read.
    """
    spec = project.spec
    entries = log_for_aliases(project, lake).entries()
    rows = known_versions(lake, spec, entries)
    row = rows.get(version)
    if row is None:
        raise no_such_version(f"{spec.name} has no registered version {version}", rows, spec)
    package, lost = _package(project, row)
    return KnownVersion(
        spec=spec,
        row=row,
        package=package,
        lost=lost,
        reports=reports_of_version(lake, spec, row.package_digest, row.judged_against) or _registered_reports(row),
        entries=entries,
        versions={one.package_digest: number for number, one in rows.items()},
        performance=_performance(lake, spec, version),
    )


def _package(project: Project, row: VersionRow) -> tuple[Package | None, str]:
    try:
        return package_of(project, row.as_ref(project.spec)), ""
    except (PackageError, TrackingError) as error:
        return None, error.found


def _registered_reports(row: VersionRow) -> dict[str, GateReport]:
    """The reports in the evidence of a version, for a lake whose table of gates has none."""
    try:
        evidence = Evidence.from_json(row.evidence_json)
    except ValueError:
        return {}
    return {report.gate: report for report in evidence.reports}


def _performance(lake: Lake, spec: ModelSpec, version: int) -> list[dict[str, Any]]:
    """Whole days with mature labels, at the latest label age of each; days in shadow where it has served none."""
    found = Table(PERFORMANCE, lake, spec).rows({"model_version": version}, (*spec.partition, *_REALISED))
    rows = [one for one in found if one["mature"] and one["slice_key"] is None]
    served = [one for one in rows if one["role"] != Role.SHADOW] or rows
    latest: dict[Any, int] = {}
    for row in served:
        latest[row["score_date"]] = max(row["label_age_days"], latest.get(row["score_date"], 0))
    return [row for row in served if row["label_age_days"] == latest[row["score_date"]]]
