"""The labelled rows on which versions of a model are compared: scored days, else a holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tallywright.data.delta.table import Table
from tallywright.data.snapshot import Snapshot, read_split
from tallywright.errors import InputError
from tallywright.lifecycle.labelled_rows import labelled_rows, with_labels
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.score_period import date_of
from tallywright.scoring.commit.manifests import manifests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project

Dates = tuple["date | None", "date | None"]


def comparable_rows(
    project: Project, lake: Lake, packages: Mapping[int, Package], dates: Dates
) -> tuple[pa.Table, str]:
    """The rows with known labels, features and target, and where they are from.

    Args:
        project: Whose rows.
        lake: Where they are.
        packages: The versions to compare.
        dates: First and last scored date, both inclusive; None is open. Without either: the scored days with mature
            labels that no version has seen, and where there are none, the holdout of the newest version.

    Raises:
        InputError: There are none, or they can no longer be read.
    """
    spec = project.spec
    tallies = [one for one in manifests(lake, spec) if _within(one.score_date, dates)]
    source = "scored days"
    if dates == (None, None):
        seen = max(package.meta.trained_through for package in packages.values())
        mature = _mature_days(lake, spec)
        tallies = [one for one in tallies if date_of(one.score_date) > seen and one.score_date in mature]
        source = "scored days with mature labels that neither version has seen"
    parts = [labelled_rows(lake, spec, manifest) for manifest in tallies]
    if sum(part.num_rows for part in parts):
        return _labelled(spec, pa.concat_tables(parts, promote_options="default")), source
    if dates != (None, None):
        raise InputError(
            f"no scored day of {spec.name} from {dates[0] or 'the first'} to {dates[1] or 'the last'} has known labels",
            expected="scored days whose labels have arrived",
            remedy=f"tally days {spec.name} lists the scored days; ingest them again once labels are there",
        )
    newest = max(packages)
    snapshot = Snapshot.from_json(packages[newest].meta.snapshot_json)
    return _labelled(spec, read_split(project, lake, snapshot, "holdout")), holdout_of(newest)


def holdout_of(version: int) -> str:
    """The source of rows that are the holdout of a version."""
    return f"the holdout of version {version}"


def _within(day: date, dates: Dates) -> bool:
    day, (first, last) = date_of(day), dates
    return (first is None or day >= first) and (last is None or day <= last)


def _mature_days(lake: Lake, spec: ModelSpec) -> set[date]:
    """The days that were realised with mature labels."""
    table = spec.table(PERFORMANCE.what)
    if lake.find(table) is None:
        return set()
    rows = Table(PERFORMANCE, lake, spec).rows({"mature": True}, ["score_date"])
    return {row["score_date"] for row in rows}


def _labelled(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """The rows whose label is known.

    Raises:
        InputError: There is none.
    """
    found = with_labels(spec, rows)
    if not found.num_rows:
        raise InputError("none of the rows to compare on has a label", expected="at least one known label")
    return found
