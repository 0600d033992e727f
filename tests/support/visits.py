"""A small model project of each task: visits, some days of them, with signal, noise and nulls."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import yaml

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import ingest
from tallywright.spec import Environment, ModelSpec, Project, load_project
from tallywright.spec.environment import Storage, Tracking

NETWORK_FILE = Path(__file__).parents[2] / "models" / "flight_delays" / "network.py"

FIRST, DAYS, ROWS = date(2024, 3, 1), 12, 180
AS_OF = FIRST + timedelta(days=DAYS)

NETWORK = {"epochs": 6, "batch_size": 128, "learning_rate": 0.01, "hidden": [16]}
CONTRACT = """
SELECT CAST(v.day AS DATE) AS score_date, CAST(NULL AS VARCHAR) AS reject_reason, v.*
FROM visits v WHERE CAST(v.day AS DATE) BETWEEN :lookback_date AND :to_date
"""
FEATURES = """
SELECT score_date, id, CAST(score_date AS TIMESTAMP) AS score_moment, kind, amount, age
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""
LABELS = """
SELECT id, score_date, outcome AS y, CAST(score_date AS TIMESTAMP) AS label_time, 'known' AS label_status
FROM accepted WHERE score_date BETWEEN :from_date AND :to_date
"""


def raw_lines(task):
    random = np.random.default_rng(5)
    yield "id,day,kind,amount,age,outcome"
    for number in range(DAYS * ROWS):
        day = FIRST + timedelta(days=number // ROWS)
        kind, amount, age = "abc"[random.integers(3)], random.normal(), random.integers(20, 60)
        signal = amount + (kind == "a") + random.normal()
        outcome = {"binary": int(signal > 0.5), "multiclass": int(np.digitize(signal, [0, 1])), "regression": signal}
        shown = "NA" if random.random() < 0.1 else age
        yield f"v{number},{day},{kind},{amount:.6f},{shown},{outcome[task]}"


def spec_of(task, **training):
    columns = {"id": "VARCHAR", "score_moment": "TIMESTAMP", "kind": "VARCHAR", "amount": "DOUBLE", "age": "DOUBLE"}
    types = {"amount": "DOUBLE", "age": "DOUBLE", "outcome": "DOUBLE" if task == "regression" else "INTEGER"}
    return ModelSpec.model_validate(
        {
            "name": "visits",
            "description": "A model of each task.",
            "owner": {"name": "Visits", "email": "visits@example.com"},
            "schedule": {"start_date": FIRST},
            "data": {
                "sources": {"visits": {"path": "visits.csv", "types": types}},
                "key": ["id"], "contract": "contract.sql", "features": "features.sql", "labels": "labels.sql",
                "columns": columns,
            },
            "training": {
                "task": task, "target": "y", "numeric": ["amount", "age"], "categorical": ["kind"], "slices": ["kind"],
                "window_days": 8, "validation_days": 2, "holdout_days": 4, "device": "cpu",
                **({} if "estimator" in training else {"network": NETWORK}),
            } | training,
        }
    )  # fmt: skip


def project_in(folder, store, task="binary", **training):
    """A project of its own in a folder, with an empty MLflow store."""
    _write_files(folder, task)
    shutil.copy(store, folder / "mlflow.db")
    environment = Environment(
        name="test",
        storage=Storage(lake=str(folder / "lake"), work=str(folder / "work"), cache=str(folder / "cache")),
        tracking=Tracking(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts")),
    )
    return Project(spec_of(task, **training), folder, folder, environment)


def ingested(folder, store, task="binary", **training):
    """Such a project, and its lake with all days."""
    project = project_in(folder, store, task, **training)
    return project, _with_all_days(project)


def on_disk(root, store, **training):
    """The project of a binary model as files, for commands, with an empty MLflow store and all days."""
    folder = root / "models" / "visits"
    for path in (folder, root / "conf", root / ".tally"):
        path.mkdir(parents=True)
    _write_files(folder, "binary")
    shutil.copy(store, root / ".tally" / "mlflow.db")
    values = spec_of("binary", **training).model_dump(mode="json", exclude_none=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(values))
    (root / "conf" / "local.yaml").write_text("{}\n")
    project = load_project("visits", root=root, environment="local")
    return project, _with_all_days(project)


def _write_files(folder, task):
    for name, text in (("contract", CONTRACT), ("features", FEATURES), ("labels", LABELS)):
        (folder / f"{name}.sql").write_text(text)
    (folder / "visits.csv").write_text("\n".join(raw_lines(task)) + "\n")
    (folder / "network.py").write_text(NETWORK_FILE.read_text())


def _with_all_days(project):
    lake = Lake.of(project.environment)
    ingest(project, lake, FIRST, AS_OF - timedelta(days=1))
    return lake
