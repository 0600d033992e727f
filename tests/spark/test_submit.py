"""The job under a real spark-submit: it is `tally`, its exit codes included; and a day that Airflow submits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import yaml
from decided import decided
from sparks import BRIEF_JVM, standalone_cluster
from synthetic import DAY, make_features, make_package, make_request, make_spec, put_day, read_scores
from world import World

from tallywright.data.delta.generation import content_transaction
from tallywright.data.delta.lake import Change, Lake
from tallywright.data.inputs.versions import input_version
from tallywright.packaging.package import Package, PackageCache
from tallywright.records import InputVersion, Promotion, Verdict
from tallywright.registry.promotion_log import PromotionLog
from tallywright.scoring.day import score_day
from tallywright.spec.model import ModelSpec

pytestmark = pytest.mark.spark
TASK = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from tallywright.orchestration.projects import project_dags

run = SimpleNamespace(run_id="run-1", run_type="manual", partition_key=None, triggering_user_name="ada")
task = project_dags(Path(sys.argv[1]))["shop__score"].task_dict["score"]
result = task.execute({"params": {"date": sys.argv[2]}, "dag_run": run})
print(json.dumps({"operator": type(task).__name__, "result": result}))
"""
"""What a worker of Airflow does with a task, without the rest of Airflow."""
OVERLAY = {
    "storage": {"lake": "lake", "work": "work", "cache": "cache"},
    "engine": {
        "spark": {
            "connection": "our_spark",
            "conf": {"spark.executor.memory": "512m", "spark.log.level": "ERROR", "spark.driver.memory": "512m"},
        }
    },
}


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


@pytest.mark.slow
def test_a_task_of_airflow_scores_a_day_on_a_cluster(repository: Path, tmp_path: Path) -> None:
    """Operator, spark-submit, job, executors: the bits of the local engine, and nobody left."""
    root, spec = tmp_path / "project", make_spec(scoring={"engine": "spark"})
    write_project(root, spec, repository / "jobs" / "score_spark.py")
    package, features = make_package(tmp_path / "package"), make_features(3000)
    lake, beside = Lake(str(root / "lake")), Lake(str(tmp_path / "beside"))
    release(root, spec, package, ingested(lake, spec, features))
    expected = score_day(make_request(beside, spec, put_day(beside, spec, features), package, engine="local"))
    with standalone_cluster(tmp_path, workers=1) as master:
        told = airflow_task(root, master)
        left = [
            process
            for process in psutil.process_iter(["cmdline"])
            if f"{root}/" in " ".join(process.info["cmdline"] or ())
        ]
    assert told["operator"] == "SparkTallyOperator"
    assert (told["result"]["action"], told["result"]["rows"]) == ("committed", 3000)
    (tally,) = lake.read(spec.table("tallies")).to_pylist()
    assert (tally["engine"], tally["key_digest"]) == ("spark", expected.manifest.key_digest)
    assert read_scores(lake, spec).equals(read_scores(beside, spec))
    assert "Registered app tallywright" in (tmp_path / "master.log").read_text()
    assert list(tmp_path.glob(f"worker-*/app-*/*/tallywright-packages/{package.digest}"))
    assert left == []


def write_project(root: Path, spec: ModelSpec, job: Path) -> None:
    """What a worker reads of a project to score a day."""
    sections = spec.model_dump(mode="json", exclude_unset=True)
    files = {
        f"models/{spec.name}/model.yaml": yaml.safe_dump(sections, allow_unicode=True),
        "conf/local.yaml": yaml.safe_dump(OVERLAY),
        "jobs/score_spark.py": job.read_text(),
    }
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True)
        file.write_text(text)


def ingested(lake: Lake, spec: ModelSpec, features: pa.Table) -> InputVersion:
    """The day as a worker finds it after ingest: `put_day` leaves no app transaction."""
    table, dated = spec.table("features"), features.append_column("score_date", pa.array([DAY] * len(features)))
    change = Change(table, dated, {"score_date": DAY}, ("score_date",), {}, content_transaction(table, DAY))
    lake.commit(change, lake.handle(change))
    return input_version(lake, spec, DAY)


def release(root: Path, spec: ModelSpec, package: Package, pinned: InputVersion) -> None:
    """The package is the champion, and the day has passed its gate."""
    PackageCache(root / "cache").put(package.folder)
    lake = Lake(str(root / "lake"))
    World(lake, spec, package).gate(pinned, Verdict.PASS)
    champion = decided(
        Promotion(
            model=spec.name,
            sequence=0,
            action="promote",
            model_version=1,
            package_digest=package.digest,
            trained_through=package.meta.trained_through,
            effective_from=date(2024, 2, 1),
            recorded_at=datetime(2024, 2, 1, tzinfo=UTC),
            approver="ada",
            reason="a test",
        )
    )
    PromotionLog(lake, spec).append(lambda _: champion)


def airflow_task(root: Path, master: str) -> dict:
    host, _, port = master.rpartition(":")
    connection = {"conn_type": "spark", "host": host, "port": int(port)}
    done = subprocess.run(
        [sys.executable, "-c", TASK, str(root), DAY.isoformat()],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env=os.environ
        | BRIEF_JVM
        | {"SPARK_LOCAL_IP": "127.0.0.1"}
        | {"AIRFLOW_HOME": str(root / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        | {"AIRFLOW_CONN_OUR_SPARK": json.dumps(connection)},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
