"""What each way in may load: a cheap command must not pay for torch, MLflow, Airflow or Great Expectations."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "airflow",
    "apache_beam",
    "great_expectations",
    "matplotlib",
    "mlflow",
    "openlineage",
    "optuna",
    "pandas",
    "pyspark",
    "sklearn",
    "torch",
}

CASES = {
    "tallywright.spec": HEAVY | {"pyarrow", "deltalake", "duckdb", "onnxruntime", "numpy"},
    "tallywright.lifecycle.plan": HEAVY | {"pyarrow", "deltalake", "duckdb", "onnxruntime", "numpy"},
    "tallywright.cli.main": HEAVY | {"pyarrow", "deltalake", "duckdb", "onnxruntime", "numpy", "rich"},
    "tallywright.spark_session": HEAVY | {"py4j", "pyarrow", "deltalake", "duckdb", "numpy"},
    "tallywright.data.etl.ingest": HEAVY | {"py4j", "onnxruntime", "sqlalchemy"},
    "tallywright.packaging.predictor": HEAVY | {"duckdb", "deltalake", "onnx", "sqlalchemy"},
    "tallywright.lifecycle.run": HEAVY | {"pyarrow", "deltalake", "duckdb", "onnxruntime", "numpy"},
    "tallywright.scoring.day": HEAVY | {"sqlalchemy"},
    "tallywright.scoring.engines.spark.worker": HEAVY | {"duckdb", "sqlalchemy"},
    "tallywright.scoring.engines.spark.packed": HEAVY | {"duckdb", "sqlalchemy"},
    "tallywright.scoring.engines.spark.driver": HEAVY | {"sqlalchemy"},
    "tallywright.lifecycle.steps.day": HEAVY | {"sqlalchemy"},
}


@pytest.mark.parametrize("module", CASES)
def test_a_light_module_loads_no_heavy_package(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not CASES[module] & set(json.loads(done.stdout))
