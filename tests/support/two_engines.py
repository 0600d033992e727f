"""One project ingested by every SQL engine, and what must be equal afterwards: everything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from flights import exact_rows

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import IngestedDay, ingest

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from tallywright.spec import Project

ENGINES = ("duckdb", "spark")
_OF_THE_RUN = ("recorded_at", "table_id", "files_json")


def on(project: Project, engine: str, folder: Path) -> Project:
    """The project with another SQL engine and a lake of its own; the staged sources are shared."""
    spec = project.spec.model_copy(update={"data": project.spec.data.model_copy(update={"engine": engine})})
    storage = project.environment.storage.model_copy(update={"lake": str(folder / engine / "lake")})
    return replace(project, spec=spec, environment=project.environment.model_copy(update={"storage": storage}))


def ingested(project: Project, engine: str, folder: Path, first: date, last: date) -> list[IngestedDay]:
    """What ingest says about each day."""
    project = on(project, engine, folder)
    return ingest(project, Lake.of(project.environment), first, last)


def lake_rows(project: Project, engine: str, folder: Path) -> dict[str, tuple[pa.Schema, list[Any]]]:
    """Schema and rows of each table to the bit, in stored order within a period; less what only the clock decides."""
    lake = Lake.of(on(project, engine, folder).environment)
    found = {}
    for table in lake.tables():
        rows = lake.read(table)
        rows = rows.drop_columns([name for name in _OF_THE_RUN if name in rows.column_names])
        if "score_date" not in rows.column_names:
            found[table] = (rows.schema, exact_rows(rows))
            continue
        column = "score_hour" if "score_hour" in rows.column_names else "score_date"
        parts = [
            rows.filter(pa.compute.equal(rows[column], one))
            for one in sorted(pa.compute.unique(rows[column]).to_pylist())
        ]
        found[table] = (rows.schema, [row for part in parts for row in exact_rows(part)])
    return found


def assert_equal_on_all(project: Project, folder: Path, first: date, last: date) -> list[IngestedDay]:
    """Ingests by each engine, requires equal results, and returns them."""
    reports = {engine: ingested(project, engine, folder, first, last) for engine in ENGINES}
    assert reports["spark"] == reports["duckdb"]
    expected = lake_rows(project, "duckdb", folder)
    found = lake_rows(project, "spark", folder)
    assert list(found) == list(expected)
    for table in expected:
        assert found[table] == expected[table], table
    return reports["duckdb"]
