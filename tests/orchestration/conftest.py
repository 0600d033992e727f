"""Airflow in this process, with a home of its own, imported only by the tests that need it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from forked_tally import run_tally

from tallywright.orchestration.doc_md import backfill_bounds
from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import COMMANDS, EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest
from tallywright.spec import load_project


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture
def airflow(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings for Airflow inside this process; a test that imports airflow asks for this fixture first."""
    monkeypatch.setenv("AIRFLOW_HOME", str(airflow_home))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{airflow_home / 'airflow.db'}")


@pytest.fixture
def project_copy(repository: Path, tmp_path: Path) -> Path:
    """The reference project's specs, overlays and DAG files, to be changed."""
    root = tmp_path / "project"
    for name in ("models/flight_delays", "conf", "dags"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


STAND_IN = """#!/bin/sh
for word in "$@"; do case "$word" in --result=*) result="${{word#--result=}}";; esac; done
echo "12:00:00 INFO    asked for: $*" >&2
echo "$*" >> "$0.asked"
{script}
"""


@pytest.fixture
def interpreter(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program that stands in for Python with Tallywright: `script` is shell, `$result` the result file."""

    def make(script: str) -> str:
        file = tmp_path / "interpreter"
        file.write_text(STAND_IN.format(script=script))
        file.chmod(0o755)
        return str(file)

    return make


@pytest.fixture
def dags(airflow: None, repository: Path) -> dict[str, Any]:
    """The DAGs of the reference project `flight_delays`, by id."""
    from tallywright.orchestration.projects import project_dags

    return {name: dag for name, dag in project_dags(repository).items() if name.startswith("flight_delays__")}


@pytest.fixture(scope="session")
def tally() -> Callable[..., str]:
    """Runs `tally …` in a project's folder and gives what it printed; the first argument is the folder."""

    def run(root: Path, *arguments: str) -> str:
        done = run_tally(arguments, root, os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def served() -> Callable[[Path], AbstractContextManager[EmbeddedAirflow]]:
    """A project's own Airflow, healthy inside the `with` and wholly gone after it."""

    @contextmanager
    def serve(root: Path) -> Iterator[EmbeddedAirflow]:
        airflow = EmbeddedAirflow(root, root / ".tally" / "airflow", parallelism=2)
        try:
            local.start(airflow)
            yield airflow
        finally:
            stopped = airflow.stop()
            assert sorted(stopped) == sorted(COMMANDS)
            assert airflow.running() == []

    return serve


@pytest.fixture(scope="session")
def backfilled() -> Callable[..., list[dict[str, Any]]]:
    """Runs `airflow backfill create` over the days of a model to its end and gives the runs."""

    def run(airflow: EmbeddedAirflow, rest: AirflowRest, model: str, first: date, last: date) -> list[dict[str, Any]]:
        dag, deadline = f"{model}__score", time.monotonic() + 900
        while rest.has_active_backfill(dag) and time.monotonic() < deadline:
            time.sleep(1)
        start, end = backfill_bounds(load_project(model, root=airflow.root).spec, first, last)
        made = airflow.airflow("backfill", "create", "--dag-id", dag, "--from-date", start, "--to-date", end,
                               "--reprocess-behavior", "completed", "--max-active-runs", "2")  # fmt: skip
        assert made.returncode == 0, made.stdout
        while time.monotonic() < deadline:
            runs = rest.runs(dag, run_type="backfill")
            if runs and all(run["state"] in ("success", "failed") for run in runs):
                return runs
            time.sleep(1)
        pytest.fail("the backfill did not end")

    return run
