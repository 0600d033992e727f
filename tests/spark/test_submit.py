"""The job under a real spark-submit: it is `tally`, its exit codes included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.spark


def test_spark_submit_keeps_the_exit_code(repository: Path) -> None:
    submit = Path(sys.executable).with_name("spark-submit")
    job = repository / "jobs" / "score_spark.py"
    done = subprocess.run(
        [str(submit), "--master", "local[1]", str(job), "run", "flight_delays", "no-such-step", "--date", "2013-06-27"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ
        | {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        | {"TALLYWRIGHT_ROOT": str(repository)},
    )
    assert "no step 'no-such-step'" in done.stderr + done.stdout
    assert done.returncode == 2


def test_new_projects_have_the_job(repository: Path) -> None:
    template = repository / "src" / "tallywright" / "cli" / "project_template" / "jobs" / "score_spark.py"
    assert template.read_text() == (repository / "jobs" / "score_spark.py").read_text()
