"""`tally airflow` for any project: nothing is started, or even made, that was not asked for."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from synthetic import make_project

from tallywright.cli.airflow_command import airflow
from tallywright.errors import UsageError
from tallywright.orchestration.embedded.processes import EmbeddedAirflow
from tallywright.orchestration.embedded.project import embedded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


def invoke(*arguments: Any) -> str:
    return CliRunner().invoke(airflow, [str(word) for word in arguments], catch_exceptions=False).output


def test_what_never_ran_is_not_running_and_makes_nothing(root: Path) -> None:
    assert invoke("status", "--root", root) == "not running\n"
    assert json.loads(invoke("status", "--root", root, "--json"))["running"] == []
    assert invoke("stop", "--root", root) == "nothing was running\n"
    assert not (root / ".tally").exists()


def test_dags_wait_unless_somebody_asks(root: Path) -> None:
    asked, demo = embedded(root, paused=True), embedded(root)
    assert asked.environment()["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "True"
    assert demo.environment()["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "False"
    assert asked.home == root / ".tally" / "airflow"


def test_airflows_own_command_line_needs_an_airflow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(UsageError, match=r"(?s)there is no Airflow in .*tally airflow start"):
        CliRunner().invoke(airflow, ["cli", "dags", "list"], catch_exceptions=False)
    assert not (root / ".tally").exists()


def test_models_that_are_not_there_are_refused_before_anything_starts(root: Path) -> None:
    pytest.importorskip("airflow")
    with pytest.raises(UsageError, match="no model 'shoes'"):
        invoke("start", "--root", root, "--unpause", "shoes")
    assert not (root / ".tally").exists()


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        made = EmbeddedAirflow(tmp_path, tmp_path / "home")
        with pytest.raises(UsageError, match=f"listens on port {port}"):
            made.start(port)
    assert made.running() == []
