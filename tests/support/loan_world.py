"""The generator of `credit_risk`, imported by its path: tests and project have their rows from the same one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tallywright.data.embedded_sql import connect
from tallywright.data.etl.queries import Query, checked
from tallywright.spec import Project, load_project

FOLDER = Path(__file__).resolve().parents[2] / "models" / "credit_risk"


def _generator() -> ModuleType:
    if "loans" not in sys.modules:
        folder = FOLDER / "loans"
        found = importlib.util.spec_from_file_location(
            "loans", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert found is not None
        assert found.loader is not None
        sys.modules["loans"] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules["loans"])
    return sys.modules["loans"]


loans = _generator()
World = loans.World
REPAYMENTS, table_of = loans.REPAYMENTS, loans.table_of


def days_of(first: date, count: int, step: int = 1) -> list[date]:
    """So many days, every `step`-th."""
    return [first + timedelta(days=number * step) for number in range(count)]


@dataclass(frozen=True)
class Asked:
    """What the project's queries give of raw tables."""

    contract: pa.Table
    features: pa.Table
    labels: pa.Table


def ask(applications: pa.Table, repayments: pa.Table, day: date, *, final: date = date(1970, 1, 1)) -> Asked:
    """Runs the three queries for a day as ingest does; `final` is the last date whose labels nobody waits for."""
    days = {"from_date": day, "to_date": day, "lookback_date": day, "label_final_date": final}
    with connect() as connection:
        connection.register("applications", applications)
        connection.register("repayments", repayments)

        texts = {name: (FOLDER / "sql" / f"{name}.sql").read_text() for name in ("contract", "features", "labels")}
        contract, features, labels = (checked(connection, Query(text, days, name)) for name, text in texts.items())
        connection.execute(f"CREATE TEMP TABLE contract AS {contract.text}", contract.values)
        connection.execute(
            "CREATE VIEW accepted AS SELECT * EXCLUDE (reject_reason) FROM contract WHERE reject_reason IS NULL"
        )
        in_order = "SELECT * FROM ({}) ORDER BY application_id"
        return Asked(
            connection.sql("SELECT * FROM contract").to_arrow_table(),
            connection.sql(in_order.format(features.text), params=features.values).to_arrow_table(),
            connection.sql(in_order.format(labels.text), params=labels.values).to_arrow_table(),
        )


def write_merged(world: Any, days: Sequence[date], folder: Path) -> None:
    """All applications of some days, and what is ever reported of them, as one raw file each."""
    found = [world.outcomes(day) for day in days]
    reports = {
        "application_id": np.concatenate([one.application_id for one in found]),
        "reported_at": np.concatenate([one.reported_at for one in found]),
        "status": np.where(np.concatenate([one.defaulted for one in found]), "defaulted", "performing"),
        "missed": np.concatenate([one.missed for one in found]),
    }
    paid_out = ~np.isnat(reports["reported_at"])
    tables = {
        "applications": pa.concat_tables([world.applications(day) for day in days]),
        "repayments": table_of({name: values[paid_out] for name, values in reports.items()}, REPAYMENTS),
    }
    for name, table in tables.items():
        (folder / name).mkdir(parents=True)
        pyarrow.parquet.write_table(table, folder / name / f"{name}.parquet")


def project_over(world: Any, days: Sequence[date], repository: Path, folder: Path) -> Project:
    """The project with its raw files, work and lake below a folder; the files hold what `write_merged` writes."""
    write_merged(world, days, folder / "raw")
    settings = [
        *(f"environment.storage.{name}={folder}/{name}" for name in ("work", "lake")),
        f"environment.storage.raw=[{folder}/raw]",
        *(f"data.sources.{name}.path={folder}/raw/{name}" for name in ("applications", "repayments")),
    ]
    return load_project("credit_risk", root=repository, overrides=settings)
