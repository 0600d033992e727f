"""Maintenance of a model's tables, which keeps the versions that tallies and models still refer to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.data.inputs.versions import latest_inputs
from tallywright.data.upkeep.maintenance import TableReport, TableRules, maintain_table
from tallywright.errors import SpecError, TallyError
from tallywright.lifecycle.cleanup import CleanupCounts, clean_up
from tallywright.lifecycle.retention import retention_problems
from tallywright.lifecycle.small_tables import model_tables
from tallywright.observability import log
from tallywright.records import Record
from tallywright.registry.references import training_references
from tallywright.scoring.references import tally_references

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec, Project

_PINNED_TABLES: Final = ("features", "labels")
"""The tables whose old versions are read again: tallies pin the one, training snapshots both."""

Keep = dict[str, dict[int, frozenset[str]]]


class MaintenanceReport(Record):
    """The report of maintenance of a model, done or (in a dry run) to be done."""

    dry_run: bool
    tables: tuple[TableReport, ...]
    leftovers: CleanupCounts


def maintain_model(
    project: Project, lake: Lake, *, now: datetime, dry_run: bool = False, damaged: Collection[str] = ()
) -> MaintenanceReport:
    """Maintains all tables of a model, and deletes what its runs left on this machine.

    A table that fails does not stop the others; its error is raised in the end. The `damaged` ones are left alone,
    because what VACUUM deletes may be what repairs them.

    Raises:
        SpecError: A retention that a run could outlive.
        TrackingError: The registry cannot say what the models were trained on, so nothing is deleted.
        TallyError: The first table that failed.
    """
    spec = project.spec
    problems = retention_problems(spec)
    if problems:
        raise SpecError("; ".join(problems), remedy="raise it in model.yaml, or shorten the longest step")
    keep = kept_versions(project, lake, now)
    reports: list[TableReport] = []
    failures: list[TallyError] = []
    for table in (table for table in model_tables(spec, lake) if table not in damaged):
        try:
            reports.append(maintain_table(lake, table, _rules(spec, table, keep, now, dry_run=dry_run)))
        except TallyError as error:
            log.error("%s was not maintained: %s", table, error)
            failures.append(error)
    if failures:
        raise failures[0]
    section = spec.maintenance
    leftovers = clean_up(
        project,
        now,
        retention=timedelta(days=section.retention_days),
        orphan_age=timedelta(days=section.orphan_days),
        dry_run=dry_run,
    )
    return MaintenanceReport(dry_run=dry_run, tables=tuple(reports), leftovers=leftovers)


def kept_versions(project: Project, lake: Lake, now: datetime) -> Keep:
    """The versions to keep by table, with what each is kept for.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    since = now - timedelta(days=project.spec.maintenance.reference_days)
    keep: Keep = {}
    for reference in (
        *latest_inputs(lake, project.spec),
        *tally_references(lake, project.spec, since),
        *training_references(project, lake, since),
    ):
        versions = keep.setdefault(reference.table, {})
        versions[reference.version] = versions.get(reference.version, frozenset()) | {reference.by}
    return keep


def _rules(
    spec: ModelSpec, table: str, keep: Mapping[str, Mapping[int, frozenset[str]]], now: datetime, *, dry_run: bool
) -> TableRules:
    section = spec.maintenance
    return TableRules(
        now=now,
        retention=timedelta(days=section.retention_days),
        orphan_age=timedelta(days=section.orphan_days),
        min_files=section.min_files,
        keep=keep.get(table, {}),
        long_log=table in {spec.table(what) for what in _PINNED_TABLES},
        dry_run=dry_run,
    )
