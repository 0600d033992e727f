"""The labelled rows on which versions of a model are compared: scored days, else a holdout."""

# ruff: noqa: S608 - names cannot be parameters; they are quoted
from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.rows import quoted
from tallywright.data.delta.table import Table
from tallywright.data.embedded_sql import connect, sql_errors
from tallywright.data.snapshot import Snapshot, read_split
from tallywright.errors import InputError, StorageError
from tallywright.labels import is_nan
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.score_period import date_of
from tallywright.scoring.commit.manifests import manifests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec, Project

Dates = tuple["date | None", "date | None"]
_KNOWN: Final = "known"


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
    parts = [_day(lake, spec, manifest) for manifest in tallies]
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


def _day(lake: Lake, spec: ModelSpec, manifest: Manifest) -> pa.Table:
    """The labelled rows of a scored day: the input that was scored, with the labels known by now."""
    day, target = manifest.score_date, spec.training.target
    key = [*spec.partition, *spec.data.key]
    try:
        features = lake.read(manifest.input.table, where={"score_date": day}, version=manifest.input.version)
    except StorageError as error:
        lake.files(manifest.input.table, day=day)  # raises where it is the storage that is away
        raise InputError(
            f"the input of {day} that was scored can no longer be read ({error.found})",
            expected=f"version {manifest.input.version} of {manifest.input.table}",
            remedy="compare on younger days: --from D",
        ) from error
    table = spec.table("labels")
    if lake.find(table) is None:
        return features.slice(0, 0)
    labels = lake.read(table, where={"score_date": day, "label_status": _KNOWN}, columns=[*key, target])
    on = " AND ".join(f"f.{quoted(name)} = l.{quoted(name)}" for name in key)
    order = ", ".join(f"f.{quoted(name)}" for name in key)
    connection = connect()
    try:
        with sql_errors(f"joining the labels of {day}", "ingest the day again"):
            connection.register("features", features.drop_columns([target] if target in features.column_names else []))
            connection.register("labels", labels)
            query = f"SELECT f.*, l.{quoted(target)} FROM features f JOIN labels l ON {on} ORDER BY {order}"
            return connection.sql(query).to_arrow_table()
    finally:
        connection.close()


def _labelled(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """The rows whose label is known.

    Raises:
        InputError: There is none.
    """
    target = rows.column(spec.training.target)
    found = rows.filter(pc.and_(pc.is_valid(target), pc.invert(is_nan(target))))
    if not found.num_rows:
        raise InputError("none of the rows to compare on has a label", expected="at least one known label")
    return found
