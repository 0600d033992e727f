"""`tally doctor` finds what would stop a run, and says what to do about it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from tallywright.cli.doctor import doctor
from tallywright.cli.init import init
from tallywright.data.delta.lake import Lake


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project whose tracking store does not have to be made first."""
    root = tmp_path / "project"
    CliRunner().invoke(init, [str(root)], catch_exceptions=False)
    overlay = root / "conf/local.yaml"
    overlay.write_text(
        overlay.read_text()
        .replace("sqlite:///${oc.env:TALLYWRIGHT_HOME,.tally}/mlflow.db", "http://127.0.0.1:9")
        .replace('connection: ""', "connection: our_spark")
    )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return root


def _java(folder: Path, version: str) -> Path:
    """A folder for PATH with a `java` of that version."""
    folder.mkdir()
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(0o755)
    return folder


def _look(root: Path, code: int) -> dict[str, dict[str, str]]:
    done = CliRunner().invoke(doctor, ["--root", str(root), "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return {row["check"]: row for row in json.loads(done.stdout)}


def test_what_is_broken_fails_with_a_remedy(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(project / ".tally/lake"))
    lake.replace("late_orders__scores", pa.table({"n": [1]}), slice={"n": 1})
    lake.open("late_orders__scores").alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 day"}
    )
    (project / ".tally/work").write_text("a file where a folder should be")
    (project / "models/other").mkdir()
    (project / "models/other/model.yaml").write_text("name: other\n")
    monkeypatch.setenv("AIRFLOW_CONN_OUR_SPARK", '{"conn_type": "spark"')
    monkeypatch.setenv("PATH", str(_java(tmp_path / "old", "11.0.2")))
    found = _look(project, code=1)
    broken = {"storage work", "tracking", "connection our_spark", "table late_orders__scores", "spec other"}
    assert {name for name, row in found.items() if row["verdict"] == "fail"} == broken
    assert all(found[name]["to_do"] for name in broken)
    assert "127.0.0.1:9" in found["tracking"]["found"]
    assert (found["java"]["verdict"], found["java"]["found"]) == ("warn", "11")
    assert found["spec late_orders"]["verdict"] == "pass"


def test_what_is_missing_but_not_needed_is_a_warning(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = _look(project, code=1)
    assert {name for name, row in found.items() if row["verdict"] == "fail"} == {"tracking"}
    assert (found["java"]["verdict"], found["java"]["found"]) == ("warn", "none")
    assert found["connection our_spark"]["verdict"] == "warn"
    assert found["tables"]["found"].startswith("0, ")
    monkeypatch.setenv("PATH", str(_java(tmp_path / "new", "21")))
    monkeypatch.setenv("AIRFLOW_CONN_OUR_SPARK", "spark://localhost")
    found = _look(project, code=1)
    assert (found["java"]["verdict"], found["connection our_spark"]["verdict"]) == ("pass", "pass")


def test_the_specs_are_those_of_the_environment(project: Path) -> None:
    (project / "conf/prod.yaml").write_text((project / "conf/local.yaml").read_text() + "models: {late_order: {}}\n")
    assert "overlay local.yaml" not in _look(project, code=1)
    done = CliRunner().invoke(doctor, ["--root", str(project), "--env", "prod", "--json"], catch_exceptions=False)
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert found["spec late_orders"]["verdict"] == "pass"
    assert found["overlay prod.yaml"]["verdict"] == "warn"
    assert "models.late_order: no such model (did you mean 'late_orders'?)" in found["overlay prod.yaml"]["found"]


def test_jars_that_are_not_staged_are_told(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYWRIGHT_SPARK_JARS", str(tmp_path))
    found = _look(project, code=1)["delta jars"]
    assert found["verdict"] == "warn"
    assert str(tmp_path) in found["found"]
    assert "--stage" in found["to_do"]
