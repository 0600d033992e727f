"""Every service of the compose file, run on this machine by its own command line until its own health check is content.

One stack for all tests of this file; a test starts what it needs.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.fs as pa_fs
import pytest
from containers import Stage
from native import Native, natively
from places import Places, free_ports

from tallywright.data.delta.lake import Lake
from tallywright.orchestration.embedded.rest import AirflowRest, RestError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(compose: dict[str, Any], stages: dict[str, Stage], repository: Path) -> Iterator[Native]:
    with natively(compose, stages, repository) as native:
        yield native


def answer(url: str, host: str = "") -> int:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310 - loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_translation_that_is_not_needed_is_not_made(compose: dict[str, Any], tmp_path: Path) -> None:
    places = Places(tmp_path, free_ports())
    used: set[str] = set()
    for name, service in compose["services"].items():
        test = service.get("healthcheck", {}).get("test", ())
        for word in [*service["command"], *test, *service.get("environment", {}).values()]:
            places.translate(name, word, used)
        for volume in service.get("volumes", ()):
            places.translate(name, volume.split(":")[1], used)
    made = places.network() | places.folders()
    for name in places.listening():
        made |= places.listening()[name]
    assert used == set(made)


def test_mlflow_keeps_records_in_postgres_and_files_in_the_store(stack: Native) -> None:
    stack.up("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{stack.places.ports['mlflow']}")
    experiment = client.create_experiment("native")
    run = client.create_run(experiment)
    client.log_metric(run.info.run_id, "auc", 0.75)
    client.log_text(run.info.run_id, "kept", "note.txt")
    assert client.get_run(run.info.run_id).data.metrics == {"auc": 0.75}
    secret = stack.environment("airflow-scheduler")
    store = pa_fs.S3FileSystem(
        access_key=secret["AWS_ACCESS_KEY_ID"],
        secret_key=secret["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=secret["AWS_ENDPOINT_URL"],
        region=secret["AWS_REGION"],
    )
    with store.open_input_file(f"mlflow/artifacts/{experiment}/{run.info.run_id}/artifacts/note.txt") as file:
        assert file.read() == b"kept"


def test_mlflow_answers_to_its_own_names_alone(stack: Native) -> None:
    stack.up("mlflow")
    url = f"http://127.0.0.1:{stack.places.ports['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert [answer(url, host) for host in ("mlflow:5000", "127.0.0.1:5001", "elsewhere.example:5000")] == [
        200,
        200,
        403,
    ]


def test_nobody_reads_the_store_without_a_key(stack: Native) -> None:
    stack.up("store-buckets")
    address = f"http://127.0.0.1:{stack.places.ports['store']}"
    assert answer(f"{address}/tallywright?list-type=2") == 403
    stack.run("store-buckets", stack.command("store-buckets"))  # a second `up` finds the buckets there


def test_a_database_role_sees_its_own_database_alone(stack: Native) -> None:
    stack.up("postgres")
    service = stack.environment("postgres")

    def connect(role: str, database: str) -> int:
        password = service[f"{role.upper()}_DB_PASSWORD"]
        command = ["env", f"PGPASSWORD={password}", "psql", "-U", role, "-d", database, "-c", "select 1"]
        return stack.run("postgres", command, check=False).returncode

    assert [connect("airflow", "airflow"), connect("mlflow", "mlflow")] == [0, 0]
    assert connect("mlflow", "airflow") != 0


JOB = """
import os
from pyspark.sql import SparkSession
from tallywright.data.delta.lake import Lake

def tables(_):
    options = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return Lake("s3://tallywright/lake", options | {"AWS_ALLOW_HTTP": "true"}).tables() or ["none"]

spark = SparkSession.builder.getOrCreate()
seen = spark.sparkContext.parallelize(range(8), 8).mapPartitions(tables).collect()
executors = spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
print("SEEN", len(seen) >= 8, len(executors) - 1)
spark.stop()
"""


@pytest.mark.spark
@pytest.mark.long
def test_spark_runs_a_job_on_two_workers_who_reach_the_lake(stack: Native) -> None:
    """Submitted as SparkSubmitOperator does, with nothing but the connection of the compose file."""
    stack.up("spark-worker", "spark-worker#2", "store-buckets")
    master = f"http://127.0.0.1:{stack.places.ports['spark_ui']}/json/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    wanted = stack.service("spark-worker")["deploy"]["replicas"]

    def registered() -> bool:
        with opener.open(master, timeout=20) as found:
            return [worker["state"] for worker in json.load(found)["workers"]] == ["ALIVE"] * wanted

    eventually(registered, 30)
    job = stack.folder / "job.py"
    job.write_text(JOB)
    code = f"""
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
SparkSubmitHook(conn_id="spark_default", verbose=False).submit({str(job)!r})
"""
    done = stack.run("airflow-scheduler", ["python", "-c", code])
    assert "SEEN True 2" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def airflow(stack: Native) -> AirflowRest:
    """Airflow's processes, healthy by their own checks and in their own words."""
    stack.up("airflow-scheduler", "airflow-dag-processor")
    password = stack.environment("airflow-api")["AIRFLOW_ADMIN_PASSWORD"]
    rest = AirflowRest(f"http://127.0.0.1:{stack.places.ports['airflow']}", "admin", password)
    eventually(rest.healthy, 60)
    return rest


def eventually(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.airflow
def test_airflow_has_the_projects_dags_and_the_pool(stack: Native, airflow: AirflowRest) -> None:
    eventually(lambda: airflow.has_dag("flight_delays__train"), 60)
    assert airflow.call("GET", "/importErrors")["import_errors"] == []
    slots = int(stack.environment("airflow-init")["TALLYWRIGHT_POOL_SLOTS"])
    assert airflow.call("GET", "/pools/tallywright")["slots"] == slots
    with pytest.raises(RestError, match="401"):
        AirflowRest(airflow.address, "admin", "admin").call("GET", "/dags")


@pytest.mark.airflow
def test_a_step_runs_under_airflow_and_writes_to_the_store(stack: Native, airflow: AirflowRest) -> None:
    """Scheduler, execution API, the step's own interpreter, keys, conditional put: `ingest` needs them all."""
    dag = "flight_delays__score"
    eventually(lambda: airflow.has_dag(dag), 60)
    airflow.call("PATCH", f"/dags/{dag}", {"is_paused": False})
    run = airflow.trigger(dag, {"date": "2013-03-08"})
    eventually(lambda: airflow.task_states(dag, run).get("ingest") in ("success", "failed"), 120)
    log = airflow.task_log(dag, run, "ingest")
    assert airflow.task_states(dag, run)["ingest"] == "success", log
    assert "tallywright run flight_delays ingest" in log
    secret = stack.environment("airflow-scheduler")
    options = {name: value for name, value in secret.items() if name.startswith("AWS_")} | {"AWS_ALLOW_HTTP": "true"}
    assert secret["AWS_SECRET_ACCESS_KEY"] not in log
    files = Lake("s3://tallywright/lake", options).files("flight_delays__features", day=date(2013, 3, 8))
    assert sum(file.rows for file in files) > 900


def test_the_doctor_finds_every_service(stack: Native) -> None:
    stack.up("mlflow")
    done = stack.run("airflow-scheduler", ["tally", "doctor", "--env", "compose", "--json"])
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert found["tracking"]["verdict"] == found["tables"]["verdict"] == "pass"
    assert found["storage lake"]["found"] == "s3://tallywright/lake, commits by conditional put"
    assert found["tracking"]["found"] == f"http://127.0.0.1:{stack.places.ports['mlflow']}"
    assert found["connection spark_default"]["verdict"] == "pass"
