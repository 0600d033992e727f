"""The tasks of a model on Spark: which connection they take, what they submit, and what they refuse before that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

CONTEXT = {
    "params": {"date": "2013-06-27"},
    "dag_run": SimpleNamespace(run_id="run-1", run_type="manual", partition_key=None, triggering_user_name="ada"),
}
WELL = """printf '{"rows": 3}' > "$result"; env | grep -E '^(SPARK_MASTER|PYSPARK)' | sort >> "$0.asked" """


def change(spec: Path, **sections: dict[str, str]) -> None:
    """Writes values into sections of a spec."""
    values = yaml.safe_load(spec.read_text())
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    spec.write_text(yaml.safe_dump(values, allow_unicode=True))


@pytest.fixture
def spark_project(project_copy: Path) -> Path:
    """The reference project with `scoring.engine: spark` and a connection."""
    change(project_copy / "models" / "flight_delays" / "model.yaml", scoring={"engine": "spark"})
    overlay = project_copy / "conf" / "local.yaml"
    overlay.write_text(overlay.read_text().replace('connection: ""', "connection: our_spark"))
    (project_copy / "jobs").mkdir()
    (project_copy / "jobs" / "score_spark.py").write_text("")
    return project_copy


@pytest.fixture
def task(airflow: None, spark_project: Path, interpreter: Callable[[str], str], tmp_path: Path) -> Callable[..., Any]:
    """Makes a task; its interpreter, and the `spark-submit` beside it, are stand-ins."""
    from tallywright.orchestration.projects import project_dags

    def make(script: str = WELL, *, pipeline: str = "score", step: str = "score") -> Any:
        found = project_dags(spark_project)[f"flight_delays__{pipeline}"].task_dict[step]
        python = Path(interpreter(script))
        python.with_name("spark-submit").write_text(python.read_text())
        python.with_name("spark-submit").chmod(0o755)
        found.command = replace(found.command, interpreter=str(python))
        return found

    return make


def connect(monkeypatch: pytest.MonkeyPatch, host: str, port: int | None = None, **extra: str) -> None:
    connection = {"conn_type": "spark", "host": host, "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_OUR_SPARK", json.dumps(connection))


def submitted(tmp_path: Path) -> str:
    return (tmp_path / "spark-submit.asked").read_text()


def test_it_is_a_spark_submit_operator(task: Callable[..., Any]) -> None:
    from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

    made = task()
    assert isinstance(made, SparkSubmitOperator)
    assert (made.retries, made.pool, [asset.name for asset in made.outlets]) == (
        2,
        "tallywright",
        ["flight_delays__scores", "flight_delays__profile", "flight_delays__drift"],
    )


def test_a_cluster_gets_the_job_with_the_arguments_of_the_command(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spark_project: Path
) -> None:
    connect(monkeypatch, "spark://127.0.0.1:7077")
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)  # a session of this process may have set it
    made = task()
    assert made.execute(CONTEXT) == {"rows": 3}
    asked = submitted(tmp_path)
    assert asked.startswith("--master spark://127.0.0.1:7077")
    job = spark_project / "jobs" / "score_spark.py"
    assert f"{job} run flight_delays score --date=2013-06-27 --run-id=run-1 --result=" in asked
    assert f"PYSPARK_PYTHON={made.command.interpreter}" in asked
    assert not (tmp_path / "interpreter.asked").exists()


@pytest.mark.parametrize(
    ("extra", "expected"), [({"queue": "nightly"}, "--master yarn --name"), ({}, "--master yarn --name")]
)
def test_yarn_is_a_matter_of_the_connection(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: dict[str, str], expected: str
) -> None:
    connect(monkeypatch, "yarn", **extra)
    task().execute(CONTEXT)
    asked = submitted(tmp_path)
    assert "--master yarn" in asked
    assert ("--queue nightly" in asked) == bool(extra)


def test_kubernetes_is_a_matter_of_the_connection(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, "k8s://https://kube.example", 6443, namespace="scoring")
    task().execute(CONTEXT)
    asked = submitted(tmp_path)
    assert asked.startswith("--master k8s://https://kube.example:6443 ")
    assert "--conf spark.kubernetes.namespace=scoring " in asked
    assert "score_spark.py run flight_delays score --date=2013-06-27" in asked


def test_kubernetes_without_its_package_says_which_one(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    connect(monkeypatch, "k8s://https://kube.example", 6443)
    made = task()
    monkeypatch.delattr("airflow.providers.apache.spark.hooks.spark_submit.kube_client")
    with pytest.raises(AirflowFailException, match=r"install tallywright\[kubernetes\]"):
        made.execute(CONTEXT)
    assert not (tmp_path / "spark-submit.asked").exists()


@pytest.mark.parametrize("master", ["local", "local[2]", "local[*]"])
def test_a_local_master_is_a_session_of_the_step_itself(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, master: str
) -> None:
    connect(monkeypatch, master)
    assert task().execute(CONTEXT) == {"rows": 3}
    assert f"SPARK_MASTER={master}\n" in (tmp_path / "interpreter.asked").read_text()
    assert not (tmp_path / "spark-submit.asked").exists()


@pytest.mark.parametrize(
    ("connection", "master"),
    [
        ("spark://localhost:7077", "spark://localhost:7077"),
        ("spark://local-master.example:7077", "spark://local-master.example:7077"),
        ('{"conn_type": "spark", "host": "localhost", "port": 7077}', "spark://localhost:7077"),
        ('{"conn_type": "spark", "host": "local-cluster[1,1,1024]"}', "local-cluster[1,1,1024]"),
    ],
)
def test_a_master_on_this_machine_is_a_cluster_too(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connection: str, master: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OUR_SPARK", connection)
    task().execute(CONTEXT)
    assert submitted(tmp_path).startswith(f"--master {master} ")
    assert not (tmp_path / "interpreter.asked").exists()


RANGE = CONTEXT | {"params": {"date": "2013-06-27", "to": "2013-06-30", "force": True}}


def test_a_range_is_submitted_with_both_ends(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connect(monkeypatch, "spark://127.0.0.1:7077")
    assert task(pipeline="backfill", step="backfill").execute(RANGE) == {"rows": 3}
    asked = submitted(tmp_path)
    assert "score_spark.py run flight_delays backfill --date=2013-06-27 --run-id=run-1 --result=" in asked
    assert asked.splitlines()[0].endswith("--to=2013-06-30 --force")
    assert not (tmp_path / "interpreter.asked").exists()


@pytest.mark.parametrize(
    ("spec", "allowed", "expected"),
    [
        ({"scoring": {"engine": "local"}}, "local", {}),
        ({"scoring": {"engine": "spark"}}, "local", {"score.score": False, "backfill.backfill": False}),
        ({"scoring": {"engine": "spark", "io": "engine"}}, "local", {"score.score": True, "backfill.backfill": True}),
        (
            {"scoring": {"engine": "local", "io": "auto"}, "data": {"engine": "spark"}},
            "local",
            {"score.ingest": False, "score.monitor": False, "backfill.backfill": False},
        ),
        (
            {"scoring": {"engine": "spark", "io": "engine"}, "data": {"engine": "spark"}},
            "local",
            {"score.ingest": False, "score.score": True, "score.monitor": False, "backfill.backfill": True},
        ),
        ({"scoring": {"engine": "auto"}}, "beam", {}),
        ({"scoring": {"engine": "auto"}}, "spark", {"score.score": False, "backfill.backfill": False}),
    ],
)
def test_every_step_that_may_start_spark_is_submitted(
    airflow: None, spark_project: Path, spec: dict[str, Any], allowed: str, expected: dict[str, bool]
) -> None:
    """By task: whether Delta's jars go along."""
    from tallywright.orchestration.projects import project_dags
    from tallywright.orchestration.spark_submit import SparkTallyOperator

    change(spark_project / "models" / "flight_delays" / "model.yaml", **spec)
    overlay = spark_project / "conf" / "local.yaml"
    overlay.write_text(overlay.read_text().replace("pool_slots: 2", f"pool_slots: 2\n  auto: [{allowed}]"))
    tasks = {
        f"{name.partition('__')[2]}.{task.task_id}": task.own_io
        for name, dag in project_dags(spark_project).items()
        for task in dag.tasks
        if isinstance(task, SparkTallyOperator)
    }
    assert tasks == expected


@pytest.mark.parametrize(("pipeline", "step"), [("score", "score"), ("backfill", "backfill")])
def test_a_missing_connection_is_refused_before_anything_is_submitted(
    task: Callable[..., Any], tmp_path: Path, pipeline: str, step: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="no Airflow connection 'our_spark'"):
        task(pipeline=pipeline, step=step).execute(RANGE)
    assert not (tmp_path / "spark-submit.asked").exists()
    assert not (tmp_path / "interpreter.asked").exists()


@pytest.mark.parametrize(
    ("host", "extra", "found"),
    [("", {}, "names no master"), ("spark://127.0.0.1:7077", {"deploy-mode": "cluster"}, "deploy mode cluster")],
)
def test_a_connection_that_cannot_work_is_refused(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, extra: Any, found: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    connect(monkeypatch, host, **extra)
    with pytest.raises(AirflowFailException, match=found):
        task().execute(CONTEXT)
    assert not (tmp_path / "spark-submit.asked").exists()


@pytest.mark.parametrize(("code", "final"), [(8, True), (10, False), (13, False), (137, False)])
def test_exit_codes_of_the_driver_decide_about_retries(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, code: int, *, final: bool
) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    connect(monkeypatch, "spark://127.0.0.1:7077")
    with pytest.raises(AirflowException, match="the reason") as caught:
        task(f"echo 'error: the reason' >&2; exit {code}").execute(CONTEXT)
    assert isinstance(caught.value, AirflowFailException) == final


STORED = {"conn_type": "aws", "login": "lake-key-id", "password": "lake-Secret", "extra": {"region_name": "eu-west-1"}}


@pytest.mark.parametrize("host", ["spark://127.0.0.1:7077", "local[2]"])
def test_the_lakes_credentials_reach_the_drivers_environment_and_nothing_else(
    task: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    host: str,
) -> None:
    connect(monkeypatch, host)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKE", json.dumps(STORED))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the worker's own")
    made = task("env | grep '^AWS_' | sort > \"$0.environment\"; echo 'a library said lake-Secret' >&2; " + WELL)
    made.command = replace(made.command, connection="aws_lake")
    values = made.execute(CONTEXT)
    program = "spark-submit" if host.startswith("spark") else "interpreter"
    assert (tmp_path / f"{program}.environment").read_text().splitlines() == [
        "AWS_ACCESS_KEY_ID=lake-key-id",
        "AWS_EC2_METADATA_DISABLED=true",
        "AWS_REGION=eu-west-1",
        "AWS_SECRET_ACCESS_KEY=lake-Secret",
    ]
    printed = capsys.readouterr()
    asked = (tmp_path / f"{program}.asked").read_text()
    for text in (asked, json.dumps(values), printed.out, printed.err, repr(made.__dict__), repr(made._process)):
        assert "lake-Secret" not in text
    assert "lake-key-id" not in asked + printed.out + printed.err
    assert "a library said ***" in printed.out + printed.err


def test_own_io_submits_the_jars(task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    connect(monkeypatch, "spark://127.0.0.1:7077")
    made = task()
    made.own_io = True
    monkeypatch.setenv("TALLYWRIGHT_SPARK_JARS", str(tmp_path / "jars"))
    with pytest.raises(AirflowFailException, match="no jars in"):
        made.execute(CONTEXT)
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "delta.jar").write_text("")
    made.execute(CONTEXT)
    assert f"--jars {tmp_path / 'jars' / 'delta.jar'}" in submitted(tmp_path)


def test_without_a_connection_the_step_is_like_any_other(airflow: None, repository: Path) -> None:
    from tallywright.orchestration.operator import TallyOperator
    from tallywright.orchestration.projects import project_dags

    assert type(project_dags(repository)["flight_delays__score"].task_dict["score"]) is TallyOperator


SHOWN = """
printf '%s' "$*" > "$0.arguments"
previous=''; for word in "$@"; do
  [ "$previous" = --properties-file ] && cp "$word" "$0.properties" && stat -c %a "$word" > "$0.mode"
  previous="$word"
done
echo "the driver says a-Secret=1"
"""
ODD = "a-Secret=1 with: spaces\\, é and 𝄞"


def test_properties_stand_neither_in_the_log_nor_on_a_command_line(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every user of the machine can read a command line; a file of its own holds them, for this user alone."""
    connect(monkeypatch, "spark://127.0.0.1:7077")
    made = task(SHOWN + WELL)
    secret = {"spark.hadoop.fs.s3a.secret.key": "a-Secret=1", "spark.hadoop.odd": ODD, "spark.executor.cores": "2"}
    made.settings = made.settings.model_copy(update={"conf": secret})
    made.execute(CONTEXT)
    arguments = (tmp_path / "spark-submit.arguments").read_text()
    assert "--load-spark-defaults --properties-file" in arguments
    assert (tmp_path / "spark-submit.mode").read_text().strip() == "600"
    shown = capsys.readouterr()
    for text in (arguments, shown.out, shown.err):
        assert "a-Secret" not in text
    assert "the driver says ***" in shown.out + shown.err
    assert properties(tmp_path / "spark-submit.properties") == secret


def properties(file: Path) -> dict[str, str]:
    """What Java reads in a properties file; `\\uXXXX` is all that ours uses of the form."""
    pairs = (line.partition("=") for line in file.read_text("ascii").splitlines())
    units = re.compile(r"\\u([0-9a-f]{4})")

    def plain(text: str) -> str:
        joined = units.sub(lambda unit: chr(int(unit[1], 16)), text)
        return joined.encode("utf-16", "surrogatepass").decode("utf-16")

    return {plain(name): plain(value) for name, _, value in pairs}
