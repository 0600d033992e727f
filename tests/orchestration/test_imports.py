"""A DAG file is parsed every few seconds and at the start of every task: it must stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "apache_beam", "deltalake", "duckdb", "great_expectations", "matplotlib", "mlflow", "numpy", "onnxruntime",
    "pandas", "pyarrow", "pyspark", "sklearn", "torch",
}  # fmt: skip
MOST_OWN_MODULES = 48


def modules_after(code: str, home: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True,
        env={"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("file", ["tallywright_dags.py", "tallywright_broken_specs.py"])
def test_a_dag_file_loads_nothing_heavy(file: str, repository: Path, tmp_path: Path) -> None:
    loaded = modules_after(f"import runpy; runpy.run_path({str(repository / 'dags' / file)!r})", tmp_path)
    assert not HEAVY & {name.split(".")[0] for name in loaded}
    own = [name for name in loaded if name.split(".")[0] == "tallywright"]
    assert len(own) <= MOST_OWN_MODULES, own
    assert not [name for name in own if name.startswith(("tallywright.lifecycle.steps", "tallywright.cli"))]


@pytest.mark.parametrize(
    "module", ["dates", "command", "doc_md", "alerts", "embedded.processes", "embedded.rest", "embedded.sqlite"]
)
def test_what_needs_no_airflow_loads_no_airflow(module: str, tmp_path: Path) -> None:
    loaded = modules_after(f"import tallywright.orchestration.{module}", tmp_path)
    assert "airflow" not in loaded
    assert not HEAVY & {name.split(".")[0] for name in loaded}
