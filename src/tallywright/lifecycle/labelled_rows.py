"""The rows of a scored day with their labels: what models are compared on after their holdout."""

# ruff: noqa: S608 - names cannot be parameters; they are quoted
from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow.compute as pc

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors
from tallywright.errors import InputError, StorageError
from tallywright.labels import is_nan

if TYPE_CHECKING:
    import pyarrow as pa

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec

_KNOWN: Final = "known"


def with_labels(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """The rows whose label is known: neither null nor, as in tables of before, NaN."""
    target = rows.column(spec.training.target)
    return rows.filter(pc.and_(pc.is_valid(target), pc.invert(is_nan(target))))


def labelled_rows(lake: Lake, spec: ModelSpec, manifest: Manifest) -> pa.Table:
    """The labelled rows of a scored day: the input that was scored, with the labels known by now.

    Raises:
        InputError: The input that was scored can no longer be read.
    """
    day, target = manifest.score_date, spec.training.target
    key = [*spec.partition, *spec.data.key]
    try:
        features = lake.read(manifest.input.table, where={"score_date": day}, version=manifest.input.version)
    except StorageError as error:
        lake.files(manifest.input.table, day=day)  # raises where it is the storage that is away
        raise InputError(
            f"the input of {day} that was scored can no longer be read ({error.found})",
            expected=f"version {manifest.input.version} of {manifest.input.table}",
            remedy="look at younger days alone",
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
