"""What a step's process has loaded when it has done its work: nothing heavy that the step does not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "airflow",
    "apache_beam",
    "boto3",
    "great_expectations",
    "matplotlib",
    "mlflow",
    "pandas",
    "pyspark",
    "sklearn",
    "sqlalchemy",
    "torch",
}
NEEDED = {
    "ingest": {"duckdb"},
    "day-gate": set(),  # the day passed before
    "day-gate --page": {"great_expectations", "pandas"},
    "resolve": set(),
    "score": {"onnxruntime"},
    "profile": {"onnxruntime"},
    "drift": {"onnxruntime"},
    "performance": set(),
    "decide": set(),
    "labels": {"duckdb"},
    "monitor": {"duckdb"},  # it reads labels again
}
DAY = "2025-04-07"
CODE = """
import json, sys
sys.argv = ["tally", "run", {model!r}, *{step!r}.split(), "--date", {day!r}, "--json"]
from tallywright.cli.main import main
main()
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


@pytest.mark.slow
def test_a_step_loads_what_it_needs(copy) -> None:
    world = copy()
    for step, needed in NEEDED.items():
        code = CODE.format(model=world.model, step=step, day=DAY)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=world.root, capture_output=True, text=True, check=False, timeout=560
        )
        assert done.returncode == 0, done.stderr
        loaded = set(json.loads(done.stdout.splitlines()[-1]))
        assert loaded & (HEAVY | {"duckdb", "onnxruntime"}) == needed, step
