from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from decided import decided
from ports import free_port

from tallywright.cli.doctor import doctor
from tallywright.errors import PackageError, TrackingError, UsageError
from tallywright.lifecycle.context import RunContext
from tallywright.lifecycle.verify.model import verify_model
from tallywright.lifecycle.verify.repair import repair_model
from tallywright.mlflow_client import mlflow_client
from tallywright.packaging.package import PackageCache, load_package
from tallywright.records import Promotion, Verdict
from tallywright.registry import versions
from tallywright.registry.evidence import evidence_of
from tallywright.registry.promotion_log import PromotionLog, champion_on
from tallywright.registry.versions_table import record_version

from .conftest import DAY, NOW, reference, report

# MLflow takes seconds to import and to make its first database.
pytestmark = pytest.mark.slow

NONE = evidence_of("toy", "", ())


@pytest.fixture
def run_id(project, empty_store):
    copy = Path(project.environment.tracking.uri.removeprefix("sqlite:///"))
    copy.parent.mkdir(parents=True)
    shutil.copy(empty_store, copy)
    return new_run(project)


def new_run(project, *, artifacts=True):
    with mlflow_client(project.environment.tracking.uri) as client:
        found = client.get_experiment_by_name("toy")
        location = project.environment.tracking.artifacts if artifacts else None
        experiment = found.experiment_id if found else client.create_experiment("toy", artifact_location=location)
        return client.create_run(experiment).info.run_id


def aliases(project):
    with mlflow_client(project.environment.tracking.uri) as client:
        return {alias: int(version) for alias, version in client.get_registered_model("toy").aliases.items()}


def promote(log, ref, offset=0, action="promote"):
    line = decided(
        Promotion(
            model="toy",
            sequence=0,
            action=action,
            model_version=ref.version,
            package_digest=ref.digest,
            trained_through=ref.trained_through,
            effective_from=DAY + timedelta(days=offset),
            recorded_at=NOW,
            approver="policy",
            reason="because",
        )
    )
    return log.append(lambda _: line)


def test_a_package_becomes_a_version_with_its_evidence(project, package, run_id):
    made = package()
    evidence = [report(reference(1), "quality"), report(reference(1), "operations", Verdict.WARN)]
    ref = versions.register(project, made.folder, run_id=run_id, evidence=evidence_of("toy", made.digest, evidence))
    assert (ref.name, ref.version, ref.digest) == ("toy", 1, made.digest)
    assert versions.find(project, 1) == ref
    with mlflow_client(project.environment.tracking.uri) as client:
        found = client.get_model_version("toy", "1")
    assert found.run_id == run_id
    assert found.source == f"runs:/{run_id}/packages/{made.digest}"
    assert found.tags["tallywright.gates"] == "operations: warn, quality: pass"
    assert found.tags["tallywright.trained_through"] == str(made.meta.trained_through)


def test_the_same_digest_is_one_version(project, package, run_id):
    made = package()
    first = versions.register(project, made.folder, run_id=run_id, evidence=NONE)
    assert versions.register(project, made.folder, run_id=new_run(project), evidence=NONE) == first
    second = versions.register(project, package("b", weight=2.0).folder, run_id=new_run(project), evidence=NONE)
    assert second.version == 2


def test_what_was_registered_comes_back_whole(project, package, run_id):
    made = package()
    ref = versions.register(project, made.folder, run_id=run_id, evidence=NONE)
    folder = versions.fetch(project, ref.version, ref.digest)
    assert load_package(folder, digest=made.digest).meta == made.meta
    assert versions.fetch(project, ref.version, ref.digest) == folder


def test_an_altered_artifact_is_refused(project, package, run_id):
    ref = versions.register(project, package().folder, run_id=run_id, evidence=NONE)
    with mlflow_client(project.environment.tracking.uri) as client:
        where = client.get_run(run_id).info.artifact_uri
    with Path(where, "packages", ref.digest, "model.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(PackageError, match=r"model\.onnx was altered"):
        versions.fetch(project, ref.version, ref.digest)


def test_a_swapped_version_is_refused(project, package, run_id):
    versions.register(project, package().folder, run_id=run_id, evidence=NONE)
    with pytest.raises(PackageError, match="has the digest"):
        versions.fetch(project, 1, "0" * 64)


def test_two_packages_of_one_run_are_two_versions_that_both_come_back(project, package, run_id):
    made = [package(name, weight=weight) for name, weight in (("a", 1.0), ("b", 2.0))]
    refs = [versions.register(project, one.folder, run_id=run_id, evidence=NONE) for one in made]
    assert [ref.version for ref in refs] == [1, 2]
    for ref in refs:
        assert load_package(versions.fetch(project, ref.version, ref.digest), digest=ref.digest)
        assert versions.find_digest(project, ref.digest) == ref
    assert versions.find_digest(project, "0" * 64) is None


def test_a_version_of_the_time_before_packages_were_kept_by_digest_comes_back(project, package, run_id):
    made = package()
    with mlflow_client(project.environment.tracking.uri) as client:
        client.create_registered_model("toy")
        client.log_artifacts(run_id, str(made.folder), artifact_path="package")
        client.create_model_version("toy", source=f"runs:/{run_id}/package", run_id=run_id)
    assert load_package(versions.fetch(project, 1, made.digest), digest=made.digest)


def test_a_candidate_comes_back_before_it_is_registered(project, package, run_id, tmp_path):
    made = package()
    versions.upload(project, made, run_id)
    cache = PackageCache(tmp_path / "empty")
    assert versions.fetch_candidate(project, run_id, made.digest, cache).digest == made.digest
    assert cache.get(made.digest) is not None
    with pytest.raises(TrackingError):
        versions.fetch_candidate(project, run_id, "0" * 64, cache)


def test_aliases_follow_the_log_and_are_repaired(project, package, lake, run_id):
    log = PromotionLog(lake, project.spec)
    assert versions.project_aliases(project, log) == []
    refs = [
        versions.register(project, package(name, weight=weight).folder, run_id=new_run(project), evidence=NONE)
        for name, weight in (("a", 1.0), ("b", 2.0), ("c", 3.0))
    ]
    assert versions.project_aliases(project, log) == []
    reports = (report(refs[2], "quality"), report(refs[2], "operations"))
    record_version(lake, project.spec, refs[2], evidence_of("toy", refs[2].digest, reports), recorded_at=NOW)
    assert versions.project_aliases(project, log) == ["challenger: none -> 3"]
    promote(log, refs[0])
    promote(log, refs[1], 5)
    assert versions.project_aliases(project, log) == ["champion: none -> 2", "previous: none -> 1"]
    assert aliases(project) == {"champion": 2, "previous": 1, "challenger": 3}
    assert versions.project_aliases(project, log) == []

    with mlflow_client(project.environment.tracking.uri) as client:
        client.set_registered_model_alias("toy", "champion", "3")
    assert versions.project_aliases(project, log) == ["champion: 3 -> 2"]

    promote(log, refs[0], 8, action="rollback")
    assert versions.project_aliases(project, log) == ["champion: 2 -> 1", "previous: 1 -> none"]
    assert aliases(project) == {"champion": 1, "challenger": 3}


def test_an_alias_that_somebody_moved_is_found_by_verify_and_doctor_and_repaired(project, package, lake):
    log = PromotionLog(lake, project.spec)
    refs = [
        versions.register(project, package(name, weight=weight).folder, run_id=new_run(project), evidence=NONE)
        for name, weight in (("a", 1.0), ("b", 2.0))
    ]
    promote(log, refs[0])
    promote(log, refs[1], 5)
    versions.project_aliases(project, log)
    context = RunContext(project, DAY, "test")

    def found() -> list[str]:
        defects = verify_model(project, context.lake, now=NOW, deep=True)
        return [f"{one.problem}; {one.remedy}" for one in defects if one.what == "registry"]

    def doctors() -> dict[str, str]:
        done = CliRunner().invoke(doctor, ["--root", str(project.root), "--json"])
        return next(row for row in json.loads(done.stdout) if row["check"] == "registry toy")

    assert found() == []
    assert doctors()["verdict"] == "pass"
    with mlflow_client(project.environment.tracking.uri) as client:
        client.set_registered_model_alias("toy", "champion", "1")
        client.delete_registered_model_alias("toy", "previous")
    assert found() == [
        "toy: the alias champion names version 1, by the promotion log it is version 2; tally verify toy --repair",
        "toy: the alias previous names no version, by the promotion log it is version 1; tally verify toy --repair",
    ]
    told = doctors()
    assert (told["verdict"], told["to_do"]) == ("fail", "tally verify toy --repair")
    assert "champion names version 1" in told["found"]
    # The log is the truth: scoring goes on by it, and the repair changes the registry.
    assert champion_on(log.entries(), DAY + timedelta(days=9)).model_version == 2
    repair_model(context)
    assert aliases(project) == {"champion": 2, "previous": 1}
    assert found() == []
    assert doctors()["verdict"] == "pass"


def test_a_run_or_version_that_is_not_there(project, package, run_id):
    with pytest.raises(TrackingError, match="nowhere"):
        versions.register(project, package().folder, run_id="nowhere", evidence=NONE)
    with pytest.raises(UsageError, match="no version 7"):
        versions.find(project, 7)
    with pytest.raises(TrackingError):
        versions.fetch(project, 7, "0" * 64)


def with_uri(project, uri):
    tracking = project.environment.tracking.model_copy(update={"uri": uri})
    environment = project.environment.model_copy(update={"tracking": tracking})
    return type(project)(spec=project.spec, folder=project.folder, root=project.root, environment=environment)


@pytest.mark.parametrize(
    "uri", ["sqlite:////proc/nowhere/mlflow.db", "http://user:secret@127.0.0.1:9", "gopher://what"]
)
def test_a_store_that_cannot_be_reached(project, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError) as refused:
        versions.ping(with_uri(project, uri).environment)
    assert "conf/" in refused.value.remedy
    assert "secret" not in str(refused.value)


def test_without_mlflow_it_says_what_to_install(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingError) as refused:
        versions.ping(project.environment)
    assert "pip install 'tallywright[train]'" in str(refused.value)


def test_no_warning_escapes(project, package, run_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.register(project, package().folder, run_id=run_id, evidence=NONE)


def test_through_a_server(project, package, lake, tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "server.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", f"{tmp_path}/store"]
    log_file = (tmp_path / "server.log").open("w")
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=log_file, stderr=log_file, start_new_session=True
    )
    with closing(log_file), started as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            remote = with_uri(project, f"http://127.0.0.1:{port}")
            made = package()
            ref = versions.register(remote, made.folder, run_id=new_run(remote, artifacts=False), evidence=NONE)
            assert ref.digest == made.digest
            folder = versions.fetch(remote, ref.version, ref.digest)
            assert load_package(folder).digest == made.digest
            log = PromotionLog(lake, project.spec)
            promote(log, ref)
            assert versions.project_aliases(remote, log) == ["champion: none -> 1"]
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def wait_for(address, server):
    for _ in range(1200):
        assert server.poll() is None, "the server died"
        with suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 - our own server
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not come up")


@pytest.mark.parametrize("text", ["yesterday", ""])
def test_a_tag_that_somebody_edited_is_shown_and_not_believed(project, package, run_id, text, heard):
    made = package()
    ref = versions.register(project, made.folder, run_id=run_id, evidence=NONE)
    with mlflow_client(project.environment.tracking.uri) as client:
        client.set_model_version_tag("toy", "1", "tallywright.trained_through", text)
    assert versions.find(project, 1) == ref.model_copy(update={"trained_through": None})
    assert any(f"says {text!r}, which is no date" in record.getMessage() for record in heard.records)


def test_who_sets_the_aliases_at_the_same_moment_finds_them_set(project, package, lake, run_id, monkeypatch):
    promotions = PromotionLog(lake, project.spec)
    refs = [
        versions.register(project, package(name, weight=weight).folder, run_id=run_id, evidence=NONE)
        for name, weight in (("a", 1.0), ("b", 2.0))
    ]
    promote(promotions, refs[0])
    promote(promotions, refs[1], 5)
    together, look, looked = threading.Barrier(3), versions._stale, threading.local()

    def look_together(*given):
        found = look(*given)
        if not hasattr(looked, "once"):
            looked.once = together.wait(60)
        return found

    monkeypatch.setattr(versions, "_stale", look_together)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(versions.project_aliases, project, promotions) for _ in range(3)]
    assert all(isinstance(one.result(), list) for one in done)
    assert aliases(project) == {"champion": 2, "previous": 1}


def test_an_alias_that_can_never_be_set_is_an_error(project, package, lake, run_id, monkeypatch):
    promotions = PromotionLog(lake, project.spec)
    promote(promotions, versions.register(project, package().folder, run_id=run_id, evidence=NONE))
    monkeypatch.setattr(versions.time, "sleep", lambda _: None)
    client = type(versions.mlflow_client(project.environment.tracking.uri).__enter__())
    monkeypatch.setattr(client, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(TrackingError, match="no"):
        versions.project_aliases(project, promotions)
