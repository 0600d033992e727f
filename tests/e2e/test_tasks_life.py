"""The whole life of a model of each task at the command line: what binary has, multiclass and regression have too."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import visits
import yaml
from forked_tally import run_tally

pytestmark = [pytest.mark.slow, pytest.mark.long]

DAYS, ROWS = 30, 400
CLASSES = ("on time", "late/very", "ab:c")
COLUMNS = {"amount": "DOUBLE", "age": "DOUBLE"}
COSTS = {"false_positive": 2.0, "false_negative": 35.0}
TASKS: dict[str, dict[str, Any]] = {
    "binary": {"label": "VARCHAR", "metric": "expected_cost", "learner": "LogisticRegression",
               "training": {"positive": "yes"}, "gates": {"costs": COSTS}},
    "multiclass": {"label": "VARCHAR", "metric": "macro_auc", "learner": "LogisticRegression",
                   "gates": {"floors": {"recall_late:2Fvery": {"min": 0.2}}}},
    "regression": {"label": "DOUBLE", "metric": "mae", "learner": "LinearRegression", "training": {"unit": "minutes"},
                   "gates": {"floors": {"bias": {"min": -20, "max": 20}}}},
}  # fmt: skip


def raw_lines(task: str) -> list[str]:
    chance, lines = np.random.default_rng(5), ["id,day,kind,amount,age,outcome"]
    for number in range(DAYS * ROWS):
        day = visits.FIRST + timedelta(days=number // ROWS)
        kind, amount, age = "abc"[chance.integers(3)], chance.normal(), chance.integers(20, 60)
        signal = amount + (kind == "a") + (age > 40) + chance.normal()
        outcome = {"binary": "yes" if signal > 1.5 else "no", "multiclass": CLASSES[int(np.digitize(signal, [0, 2]))],
                   "regression": 100 + 20 * signal}[task]  # fmt: skip
        lines.append(f"v{number},{day},{kind},{amount:.6f},{'NA' if chance.random() < 0.1 else age},{outcome}")
    return lines


def write_project(root: Path, task: str, repository: Path) -> None:
    told, folder = TASKS[task], root / "models/visits"
    (folder / "sql").mkdir(parents=True)
    for name in ("conf", "expectations"):
        (root / name).mkdir()
    shutil.copy(repository / "conf/local.yaml", root / "conf/local.yaml")
    for name, text in (("contract", visits.CONTRACT), ("features", visits.FEATURES), ("labels", visits.LABELS)):
        (folder / f"sql/{name}.sql").write_text(text)
    (folder / "visits.csv").write_text("\n".join(raw_lines(task)) + "\n")
    types = COLUMNS | {"outcome": told["label"]}
    learner = {"kind": "sklearn", "path": f"sklearn.linear_model.{told['learner']}", "inputs": "normalised"}
    spec = {
        "spec_version": 2, "name": "visits", "description": "A model of each task.",
        "owner": {"name": "Visits", "email": "visits@example.com"}, "schedule": {"start_date": visits.FIRST},
        "data": {
            "sources": {"visits": {"path": "visits.csv", "null_value": "NA", "types": types}}, "key": ["id"],
            "columns": {"id": "VARCHAR", "score_moment": "TIMESTAMP", "kind": "VARCHAR"} | COLUMNS,
            "sparse_columns": ["age"],
        },
        "training": {
            "task": task, "target": "y", "numeric": ["amount", "age"], "categorical": ["kind"], "slices": ["kind"],
            "window_days": 10, "validation_days": 2, "holdout_days": 6, "estimator": learner, "baselines": False,
        } | told.get("training", {}),
        "gates": {"primary_metric": told["metric"], "max_latency_ms_per_1000": 60_000.0} | told["gates"],
        "monitoring": {"performance_floor": {told["metric"]: {"min": 0.0}}},
    }  # fmt: skip
    (folder / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    suite = {"expect": "expect_column_values_to_not_be_null", "severity": "critical", "column": "amount"}
    (root / "expectations/visits__features.yaml").write_text(
        yaml.safe_dump({"dataset": "visits__features", "expectations": [suite]})
    )


@pytest.mark.parametrize("task", list(TASKS))
def test_the_life_of_a_task(task: str, tmp_path: Path, repository: Path) -> None:
    write_project(tmp_path, task, repository)
    metric = TASKS[task]["metric"]
    environment = dict(os.environ) | {"TALLYWRIGHT_HOME": str(tmp_path / ".tally")}

    def tally(*arguments: str, code: int = 0) -> str:
        done = run_tally(arguments, tmp_path, environment)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout

    def rows(sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(tally("query", sql, "--json", "--limit", "100000"))
        return found

    tally("ingest", "visits", "--from", "2024-03-01", "--to", "2024-03-30")
    # The first champion does not know the amount.
    tally("train", "visits", "--date", "2024-03-20", "--set", "training.numeric=[age]")
    tally("score", "visits", "--from", "2024-03-21", "--to", "2024-03-24")
    tally("train", "visits", "--date", "2024-03-28")
    tally("score", "visits", "--from", "2024-03-28", "--to", "2024-03-30")

    gate = {
        row["check_name"]: row
        for row in rows("select * from visits__gates where gate = 'quality' order by recorded_at, position")
    }
    assert gate[f"superiority_{metric}"]["verdict"] == "pass"
    assert {name for name in gate if name.startswith("slice_kind=")} == {f"slice_kind={kind}" for kind in "abc"}
    assert ("class_late:2Fvery" in gate) is (task == "multiclass")
    realised = {row["metric"]: row for row in rows(
        "select * from visits__performance where slice_key is null and role = 'champion' and score_date = '2024-03-28'"
    )}  # fmt: skip
    assert realised[metric]["model_version"] == 2
    assert realised[metric]["value"] > 0
    assert ("recall_ab:3Ac" in realised) is (task == "multiclass")
    drifted = {row["column_name"] for row in rows("select distinct column_name from visits__drift")}
    assert ("prediction.class" in drifted) is (task == "multiclass")
    assert [row["action"] for row in json.loads(tally("history", "visits", "--json"))] == ["promote", "promote"]
    compared = json.loads(tally("compare", "visits", "1", "2", "--json"))
    assert {pair["metric"]: pair["gain"] for pair in compared["metrics"]}[metric] > 0
    days = json.loads(tally("days", "visits", "--json"))
    assert {day["realised_metric"] for day in days} == {metric}
    unit = {"binary": "EUR a row", "multiclass": "", "regression": "minutes"}[task]
    plan = json.loads(tally("explain", "visits", "--date", "2024-03-30", "--pipeline", "train", "--json"))["evidence"]
    assert (plan["metric"], plan["unit"]) == (metric, unit)
    assert plan["days"]
    assert json.loads(tally("trace", "visits", "v11205", "2024-03-29", "--json"))
    assert len(json.loads(tally("versions", "visits", "--json"))) == 2
    page = Path(tally("report", "visits").split()[-1]).read_text()
    assert ("AUC against all others" in page) is (task == "multiclass")
    assert ("Expected cost, EUR a row" in page) is (task == "binary")
    assert ("Mean absolute error, minutes" in page) is (task == "regression")
