"""What the DAG files of a project cost Airflow: CPU seconds of one look, after the imports, each in a new process.

    python benchmarks/dag_files.py              # 1, 50 and 200 models
    python benchmarks/dag_files.py --models 50

`first`: no spec was ever seen. `unchanged`: the DAG processor's next look. `task`: what a task's process reads of the
same file. `by hand`: as many DAGs of nine trivial tasks each, made by Airflow alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = Path(__file__).parents[1] / "models" / "flight_delays" / "model.yaml"
PIPELINES = 7
LOOK = """
import json, os, sys, time
from pathlib import Path
import omegaconf
import tallywright.orchestration.dags
from tallywright.orchestration.projects import project_dags, require_valid_specs
root = Path(sys.argv[1])
start = time.process_time()
found = project_dags(root)
made = time.process_time()
require_valid_specs(root)
print(json.dumps([len(found), made - start, time.process_time() - made]))
"""
BY_HAND = """
import json, sys, time
from datetime import datetime
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
found, start = {}, time.process_time()
for number in range(int(sys.argv[1])):
    with DAG(f"dag_{number}", schedule="0 4 * * *", start_date=datetime(2026, 1, 1)) as dag:
        before = EmptyOperator(task_id="task_0")
        for position in range(1, 9):
            task = EmptyOperator(task_id=f"task_{position}")
            before >> task
            before = task
    found[dag.dag_id] = dag
print(json.dumps([len(found), time.process_time() - start, 0.0]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'models':>6}  {'look':<10} {'DAGs':>5}  {'DAG file':>8}  {'broken-specs file':>17}   (CPU s, medians)")
    for models in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            for name, (dags, file, check) in _looks(Path(folder), models, arguments.repeat).items():
                print(f"{models:>6}  {name:<10} {dags:>5}  {file:>8.2f}  {check:>17.2f}")


def _looks(folder: Path, models: int, repeat: int) -> dict[str, tuple[int, float, float]]:
    """The figures by kind of look; the kinds take turns, so that a noisy minute hits all of them."""
    project = _project(folder, models)
    found: dict[str, list[tuple[int, float, float]]] = {}
    for number in range(repeat):
        environment = {"TALLYWRIGHT_HOME": str(folder / f"home-{number}")}
        task = environment | {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": "model_0__score"}
        for name, code, argument, more in (
            ("first", LOOK, str(project), environment),
            ("unchanged", LOOK, str(project), environment),
            ("task", LOOK, str(project), task),
            ("by hand", BY_HAND, str(models * PIPELINES), {}),
        ):
            found.setdefault(name, []).append(_run(folder, code, argument, more))
    return {
        name: (runs[0][0], statistics.median(run[1] for run in runs), statistics.median(run[2] for run in runs))
        for name, runs in found.items()
    }


def _project(folder: Path, models: int) -> Path:
    project, text = folder / "project", MODEL.read_text(encoding="utf-8")
    for number in range(models):
        spec = project / "models" / f"model_{number}" / "model.yaml"
        spec.parent.mkdir(parents=True)
        spec.write_text(text.replace("name: flight_delays", f"name: model_{number}", 1), encoding="utf-8")
    overlay = project / "conf" / "local.yaml"
    overlay.parent.mkdir()
    overlay.write_text((MODEL.parents[2] / "conf" / "local.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return project


def _run(folder: Path, code: str, argument: str, more: dict[str, str]) -> tuple[int, float, float]:
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "TALLYWRIGHT_ENV": "local",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, argument], env=environment | more, capture_output=True, text=True, check=True
    )
    dags, file, check = json.loads(done.stdout.splitlines()[-1])
    return int(dags), float(file), float(check)


if __name__ == "__main__":
    main()
