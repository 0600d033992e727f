from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import UTC
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from ports import free_port

from tallywright.errors import TrackingError
from tallywright.registry.versions import ping
from tallywright.spec import load_project
from tallywright.training.tracking import TrainingLog, experiment_problem, find_run, open_run, training_run

REPOSITORY = Path(__file__).parents[2]
mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow

CONTENT = TrainingLog(
    params={"network.hidden": "64, 32", "seed": "7"} | {f"p{i}": str(i) for i in range(150)},
    tags={"code.version": "abc", "long": "x" * 9000},
    metrics={"model/roc_auc": 0.7, "slice/carrier/9E/log_loss": 0.5},
    steps={"train_loss": (0.6, 0.5, 0.4), "validation_loss": (0.61, 0.55, 0.56)},
    files={"plots/loss.png": b"picture"},
)


@pytest.fixture
def project_with(tmp_path, empty_store):
    """The flights project, tracking elsewhere."""

    def make(uri=None, artifacts=None):
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        return load_project(
            "flight_delays",
            root=REPOSITORY,
            overrides=[
                f"environment.tracking.uri={uri or f'sqlite:///{tmp_path}/mlflow.db'}",
                f"environment.tracking.artifacts={artifacts or tmp_path / 'artifacts'}",
            ],
        )

    return make


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    """A real MLflow server on a free port of the loopback."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "server.db")
    port = free_port()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310 - our own address
                    if answer.status == 200:
                        break
            except (URLError, OSError):
                assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def check_one_complete_run(run):
    seen = run.client.get_run(run.run_id)
    assert seen.info.status == "FINISHED"
    assert len(seen.data.params) == 152
    assert seen.data.params["network.hidden"] == "64, 32"
    assert seen.data.tags["code.version"] == "abc"
    assert seen.data.tags["tallywright.run"] == "run 'one'"
    assert seen.data.metrics["model/roc_auc"] == 0.7
    history = run.client.get_metric_history(run.run_id, "validation_loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.61), (2, 0.55), (3, 0.56)]
    assert [file.path for file in run.client.list_artifacts(run.run_id, "plots")] == ["plots/loss.png"]


def log_twice(project):
    with training_run(project, "run 'one'") as first:
        first.log(CONTENT)
    with training_run(project, "run 'one'") as again:
        again.log(CONTENT)
    assert (again.run_id, again.started_at) == (first.run_id, first.started_at)
    assert first.started_at.tzinfo is UTC
    check_one_complete_run(first)
    with training_run(project, "run two") as other:
        assert other.run_id != first.run_id
    return first


def test_a_repeated_run_is_one_run_in_sqlite(project_with, tmp_path):
    run = log_twice(project_with())
    assert list((tmp_path / "artifacts" / "flight_delays").rglob("loss.png"))
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        (count,) = database.execute("select count(*) from metrics where run_uuid = ?", (run.run_id,)).fetchone()
    assert count == 2 + 6


@pytest.mark.long
def test_a_repeated_run_is_one_run_on_a_server(project_with, server, capfd):
    log_twice(project_with(server))
    assert capfd.readouterr().out == ""  # standard output belongs to results


def test_a_failed_training_is_marked_as_failed(project_with):
    project = project_with()
    with pytest.raises(ValueError, match="broken"), training_run(project, "run") as run:
        raise ValueError("broken")
    assert run.client.get_run(run.run_id).info.status == "FAILED"
    assert open_run(project, "run").run_id == run.run_id
    assert run.client.get_run(run.run_id).info.status == "RUNNING"


def test_what_a_step_hands_over_is_found_by_the_next_and_verified(project_with):
    project = project_with()
    assert find_run(project, "run") is None
    made = open_run(project, "run")
    made.client.set_terminated(made.run_id, "FINISHED")
    assert find_run(project, "run").handed_over("snapshot.json") is None
    for content in (b"first", b"second"):
        made.hand_over("snapshot.json", content)
        assert find_run(project, "run").handed_over("snapshot.json") == content
    assert made.client.get_run(made.run_id).info.status == "FINISHED"
    assert find_run(project, "another run") is None

    folder = Path(made.client.get_run(made.run_id).info.artifact_uri.removeprefix("file://"))
    (altered,) = [file for file in folder.rglob("snapshot.json") if file.read_bytes() == b"second"]
    altered.write_bytes(b"third")
    with pytest.raises(TrackingError, match="not what was handed over"):
        find_run(project, "run").handed_over("snapshot.json")
    altered.unlink()
    with pytest.raises(TrackingError, match=r"could not give the snapshot\.json of the run"):
        find_run(project, "run").handed_over("snapshot.json")


def test_other_parameters_of_the_same_run_are_refused(project_with):
    run = open_run(project_with(), "run")
    run.log(TrainingLog(params={"seed": "7"}))
    with pytest.raises(TrackingError, match="could not log the training") as caught:
        run.log(TrainingLog(params={"seed": "8"}))
    assert "new run id" in str(caught.value)


def test_an_unreachable_server_is_a_tracking_error(project_with, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="could not open a run") as caught:
        open_run(project_with("http://127.0.0.1:9"), "run")
    assert caught.value.retryable
    assert "conf/<env>.yaml" in caught.value.remedy


def test_a_new_database_is_made_with_its_folder(project_with, tmp_path):
    run = open_run(project_with(f"sqlite:///{tmp_path}/new/mlflow.db"), "run")
    assert run.client.get_run(run.run_id).info.status == "RUNNING"


def test_a_password_in_the_address_is_not_shown(project_with, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="127") as caught:
        open_run(project_with("http://somebody:hidden-word@127.0.0.1:9"), "run")
    assert "hidden-word" not in str(caught.value)


def test_a_database_that_cannot_be_made_is_a_tracking_error(project_with, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrackingError, match="could not connect"):
        open_run(project_with(f"sqlite:///{tmp_path}/file/mlflow.db"), "run")


def test_missing_mlflow_is_a_tracking_error(project_with, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingError, match="cannot be imported") as caught:
        open_run(project_with(), "run")
    assert "tallywright[train]" in caught.value.remedy


def test_what_the_store_refuses_is_a_warning_and_all_else_is_logged(project_with, heard):
    run = open_run(project_with(), "run")
    metrics = {f"m{number}": float(number) for number in range(20)} | {"refused & left out": 1.0, "../up": 2.0}
    run.log(TrainingLog(metrics=metrics, tags={"good": "1", "bad/../tag": "2"}, params={"p": "x" * 9000}))
    run.log(TrainingLog(metrics=metrics, tags={"good": "1", "bad/../tag": "2"}, params={"p": "x" * 9000}))
    seen = run.client.get_run(run.run_id).data
    assert seen.metrics == {f"m{number}": float(number) for number in range(20)}
    assert seen.tags["good"] == "1"
    refused = [record.getMessage() for record in heard.records if record.levelname == "WARNING"]
    assert len(refused) == 6
    assert any("refused & left out" in text for text in refused)


def test_a_deleted_experiment_is_no_matter_of_trying_again(project_with, heard):
    project = project_with()
    run = open_run(project, "before")
    experiment = run.client.get_run(run.run_id).info.experiment_id
    run.client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"experiment {experiment} .* is deleted") as refused:
        open_run(project, "after")
    assert (refused.value.exit_code, refused.value.retryable) == (12, False)
    assert f"experiments restore -x {experiment}" in refused.value.remedy
    assert experiment_problem(project).found == refused.value.found
    run.client.restore_experiment(experiment)
    open_run(project, "after")
    assert experiment_problem(project) is None


def test_a_copied_project_writes_nothing_into_the_original(project_with, tmp_path):
    open_run(project_with(), "here").hand_over("note", b"x")
    before = sorted((tmp_path / "artifacts").rglob("*"))
    copy = project_with_copied_store(tmp_path, tmp_path / "copy")
    with pytest.raises(TrackingError, match="was copied from there, or moved") as refused:
        open_run(copy, "there")
    assert (refused.value.exit_code, refused.value.retryable) == (12, False)
    told = str(refused.value)
    assert f"{tmp_path}/artifacts/flight_delays" in told
    assert f"{tmp_path}/copy/artifacts/flight_delays" in told
    assert experiment_problem(copy).found == refused.value.found
    assert sorted((tmp_path / "artifacts").rglob("*")) == before
    # What the remedy says works.
    renamed = project_with_copied_store(tmp_path, tmp_path / "copy", "environment.tracking.experiment_prefix=copy/")
    open_run(renamed, "there").hand_over("note", b"y")
    assert sorted((tmp_path / "artifacts").rglob("*")) == before
    assert list((tmp_path / "copy" / "artifacts").rglob("note"))


def project_with_copied_store(original, folder, *overrides):
    folder.mkdir(exist_ok=True)
    shutil.copy(original / "mlflow.db", folder / "mlflow.db")
    tracking = (f"uri=sqlite:///{folder}/mlflow.db", f"artifacts={folder}/artifacts")
    sets = [f"environment.tracking.{text}" for text in tracking]
    return load_project("flight_delays", root=REPOSITORY, overrides=[*sets, *overrides])


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgresql://user:secret@db/mlflow", "postgresql+psycopg2://"),
        ("mysql://user:secret@db/mlflow", "mysql+pymysql://"),
        ("postgresql+nothing://user:secret@db/mlflow", "postgresql+psycopg2://"),
        ("gopher://what", "conf/<env>.yaml"),
    ],
)
def test_a_store_whose_driver_is_missing_is_told_with_the_address_that_works(project_with, uri, told, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    project = project_with(uri=uri)
    for use in (lambda: open_run(project, "run"), lambda: ping(project.environment)):
        with pytest.raises(TrackingError) as refused:
            use()
        assert (refused.value.exit_code, refused.value.retryable) == (12, False)
        assert told in refused.value.remedy
        assert "secret" not in str(refused.value)
