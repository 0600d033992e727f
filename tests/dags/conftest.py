"""Airflow in this process, with a home of its own, imported only by the tests that need it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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
    for name in ("models", "conf", "dags"):
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
    """The DAGs of the reference project, by id."""
    from tallywright.orchestration.projects import project_dags

    return project_dags(repository)
