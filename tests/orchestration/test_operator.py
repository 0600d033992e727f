from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

WELL = """printf '{"rows": 3, "act": true, "decision_id": "ab-12"}' > "$result" """


@pytest.fixture
def task(dags: dict[str, Any], interpreter: Callable[[str], str], tmp_path: Path) -> Callable[..., Any]:
    """Makes a task of a DAG whose interpreter is a stand-in."""

    def make(script: str = WELL, dag: str = "score", step: str = "score") -> Any:
        found = dags[f"flight_delays__{dag}"].task_dict[step]
        found.command = replace(found.command, interpreter=interpreter(script), root=tmp_path)
        return found

    return make


def context(params: dict[str, Any] | None = None, run_type: str = "manual", **others: Any) -> dict[str, Any]:
    run = SimpleNamespace(run_id="run-1", run_type=run_type, partition_key=None, triggering_user_name="ada")
    return {"params": {"date": "2013-06-27"} | (params or {}), "dag_run": run, **others}


def asked_for(tmp_path: Path) -> str:
    """The arguments of the stand-in's last call."""
    return (tmp_path / "interpreter.asked").read_text().splitlines()[-1]


def test_the_result_file_is_the_result(task: Callable[..., Any]) -> None:
    assert task().execute(context()) == {"rows": 3, "act": True, "decision_id": "ab-12"}


def test_the_log_has_the_command_and_the_output(
    task: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task().execute(context())
    shown = capsys.readouterr().out
    assert "running: " in shown
    assert "asked for: -m tallywright run flight_delays score" in shown
    assert "-m tallywright run flight_delays score --date=2013-06-27 --run-id=run-1" in asked_for(tmp_path)


def test_a_scheduled_run_takes_the_date_of_its_interval(
    task: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = datetime(2013, 6, 28, 8, tzinfo=UTC)
    task().execute(context({"date": None}, "scheduled", data_interval_start=start))
    assert "--date=2013-06-28" in asked_for(tmp_path)
    assert "score date 2013-06-28, from data_interval_start (2013-06-28 08:00:00+00:00)" in first_line(capsys)


def test_the_first_line_of_a_run_says_that_its_date_was_named(
    task: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    task().execute(context())
    assert "score date 2013-06-27, from params.date (2013-06-27)" in first_line(capsys)


def first_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The first line of the task's log; Airflow's own warning that a test is no task runner does not count."""
    lines = capsys.readouterr().out.splitlines()
    return next(line for line in lines if "outside of the Task Runner" not in line)


@pytest.mark.parametrize(
    "params",
    [{"date": "2013-06-27; touch hacked"}, {"date": "$(touch hacked)"}, {"date": "2012-06-27"}, {"date": None}],
)
def test_a_bad_date_fails_at_once_and_runs_nothing(
    task: Callable[..., Any], params: dict[str, Any], tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException):
        task('touch ran; printf "{}" > "$result"').execute(context(params))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("code", [2, 4, 7, 8, 9])
def test_an_error_that_a_retry_cannot_cure_fails_the_task(task: Callable[..., Any], code: int) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="the reason"):
        task(f"echo 'error: the reason' >&2; exit {code}").execute(context())


@pytest.mark.parametrize("code", [1, 10, 11, 12, 70, 137])
def test_another_error_is_tried_again(task: Callable[..., Any], code: int) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match=f"exit code {code}") as found:
        task(f"exit {code}").execute(context())
    assert not isinstance(found.value, AirflowFailException)


@pytest.mark.parametrize("script", ["true", "echo '[1]' > \"$result\"", 'echo nonsense > "$result"'])
def test_success_without_a_result_is_a_failure(task: Callable[..., Any], script: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException):
        task(script).execute(context())


def test_on_kill_ends_the_step(task: Callable[..., Any], tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowException

    operator = task("exec sleep 600")

    def kill() -> None:
        while not (tmp_path / "interpreter.asked").exists():
            time.sleep(0.05)
        operator.on_kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(AirflowException):
        operator.execute(context())
    killer.join()


def test_only_the_step_that_decides_may_act_and_not_in_a_backfill(task: Callable[..., Any], tmp_path: Path) -> None:
    task(step="monitor").execute(context(run_type="scheduled"))
    assert asked_for(tmp_path).endswith("--act")
    task(step="monitor").execute(context(run_type="backfill"))
    assert "--act" not in asked_for(tmp_path)
    task(step="score").execute(context(run_type="scheduled"))
    assert "--act" not in asked_for(tmp_path)


def test_a_backfill_asks_for_the_whole_range(task: Callable[..., Any], tmp_path: Path) -> None:
    task(dag="backfill", step="backfill").execute(context({"to": "2013-07-03"}))
    assert "backfill --date=2013-06-27 --run-id=run-1" in asked_for(tmp_path)
    assert asked_for(tmp_path).endswith("--to=2013-07-03")
    task(dag="backfill", step="backfill").execute(context({"to": "2013-07-03", "force": True}))
    assert asked_for(tmp_path).endswith("--to=2013-07-03 --force")


@pytest.mark.parametrize("last", [None, "2013-07-03; reboot", "soon", 7])
def test_a_backfill_needs_a_last_date(task: Callable[..., Any], last: object) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"params\.to"):
        task(dag="backfill", step="backfill").execute(context({"to": last}))


def test_a_rollback_records_who_asked_and_why(task: Callable[..., Any], tmp_path: Path) -> None:
    params = {"reason": "it drifts; $(really)", "effective_from": "2013-07-01"}
    task(dag="rollback", step="rollback").execute(context(params))
    assert asked_for(tmp_path).endswith("--effective-from=2013-07-01 --by=ada --reason=it drifts; $(really)")


def test_a_training_records_why_where_somebody_says_so(task: Callable[..., Any], tmp_path: Path) -> None:
    task(dag="train", step="snapshot").execute(context({"reason": "more columns"}))
    assert asked_for(tmp_path).endswith("--reason=more columns")
    task(dag="train", step="snapshot").execute(context({}))
    assert "--reason" not in asked_for(tmp_path)


@pytest.mark.parametrize("version", [None, "3; drop table", 0, True])
def test_a_promotion_needs_the_number_of_a_version(task: Callable[..., Any], version: object) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"params\.version"):
        task(dag="promote", step="promote").execute(context({"version": version}))


class Results:
    """The part of a task instance that a task reads results by."""

    def __init__(self, value: object, version: int = 2) -> None:
        self.value, self.registered = value, {"version": version, "digest": "d" * 64, "tags": {}}

    def xcom_pull(self, task_ids: str) -> object:
        assert task_ids in ("monitor", "approval", "register")
        return self.registered if task_ids == "register" else self.value

    def xcom_push(self, key: str, value: object) -> None:
        """Kept by Airflow; of no interest here."""


@pytest.mark.parametrize("decision", [None, {}, {"act": False}, {"act": "true"}, {"retrain": True}])
def test_a_quiet_decision_triggers_nothing(dags: dict[str, Any], decision: object) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        dags["flight_delays__score"].task_dict["trigger_train"].execute(context(ti=Results(decision)))


def test_a_backfill_triggers_nothing_whatever_the_decision_says(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    trigger = dags["flight_delays__score"].task_dict["trigger_train"]
    with pytest.raises(AirflowSkipException, match="backfill"):
        trigger.execute(context(run_type="backfill", ti=Results({"act": True})))


def test_a_decision_starts_one_training_of_its_own_id(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import DagRunTriggerException

    trigger = dags["flight_delays__score"].task_dict["trigger_train"]
    with pytest.raises(DagRunTriggerException) as found:
        trigger.execute(context(ti=Results({"act": True, "decision_id": "../ab'12"})))
    assert found.value.trigger_dag_id == "flight_delays__train"
    assert found.value.dag_run_id == "decision_20130627_ab12"
    assert found.value.conf == {"date": "2013-06-28", "effective_from": "2013-06-28"}
    assert found.value.skip_when_already_exists


@pytest.mark.parametrize("result", [None, {}, {"catch_up": {}}, {"act": True}])
def test_without_a_missed_period_no_backfill_starts(dags: dict[str, Any], result: object) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        dags["flight_delays__score"].task_dict["catch_up"].execute(context(ti=Results(result)))


def test_missed_periods_start_one_backfill_named_after_them(dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DagRunTriggerException

    trigger = dags["flight_delays__score"].task_dict["catch_up"]
    missed = {"catch_up": {"from": "2013-06-24", "to": "2013-06-26"}}
    with pytest.raises(DagRunTriggerException) as found:
        trigger.execute(context(run_type="scheduled", ti=Results(missed)))
    assert found.value.trigger_dag_id == "flight_delays__backfill"
    assert found.value.dag_run_id == "catch_up_20130624_20130626"
    assert found.value.conf == {"date": "2013-06-24", "to": "2013-06-26"}
    assert found.value.skip_when_already_exists
    with pytest.raises(AirflowSkipException, match="backfill"):
        trigger.execute(context(run_type="backfill", ti=Results(missed)))
    with pytest.raises(AirflowFailException, match="catch_up"):
        trigger.execute(context(ti=Results({"catch_up": {"from": "$(reboot)", "to": "2013-06-26"}})))


HAND = """env | sed -n 's/^TALLYWRIGHT_ANSWER=//p' > "$0.answer"; """


def sealed(monkeypatch: pytest.MonkeyPatch, dag: str = "flight_delays__train", run: str = "run-1") -> dict[str, Any]:
    """What the approval task of a run returns when grace says yes."""
    from airflow.sdk import DAG

    from tallywright.orchestration.approval_task import SealedApproval
    from tallywright.spec.schedule import Schedule

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")
    schedule = Schedule(start_date=date(2013, 1, 1))
    task = SealedApproval(task_id="approval", subject="?", commands={}, schedule=schedule, dag=DAG(dag, schedule=None))
    event = {
        "chosen_options": ["Approve"], "params_input": {}, "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "grace"},
    }  # fmt: skip
    return dict(task.execute_complete({"dag_run": SimpleNamespace(run_id=run), "ti": Results(None)}, event))


def handed(tmp_path: Path) -> str:
    return (tmp_path / "interpreter.answer").read_text().strip()


@pytest.mark.parametrize(("user", "known"), [("ada", True), (None, False), ("", False), ("a\nb", False)])
def test_who_triggers_a_promotion_is_handed_over_when_airflow_knows_them(
    task: Callable[..., Any], tmp_path: Path, user: str | None, known: object
) -> None:
    """A run that nobody is known to have triggered has no answer: where a person has to approve, it is refused."""
    run = context({"version": 2, "effective_from": "2013-07-01"})
    run["dag_run"].triggering_user_name = user
    task(HAND + WELL, dag="promote", step="promote").execute(run)
    if not known:
        assert handed(tmp_path) == ""
        assert "--by=airflow" in asked_for(tmp_path)
        return
    request = json.loads(handed(tmp_path))["request"]
    assert (request["by"], request["version"], request["effective_from"]) == ("ada", 2, "2013-07-01")
    assert request["run_id"] == run["dag_run"].run_id


@pytest.mark.usefixtures("airflow")
@pytest.mark.parametrize(
    ("dag", "params"),
    [
        ("promote", {"version": 2, "effective_from": "2013-07-01", "reason": "better"}),
        ("promote", {"version": 2}),
        ("train", {}),
        ("train", {"effective_from": "2013-07-02"}),
    ],
)
def test_the_step_understands_the_answer_that_it_is_handed(
    repository: Path,
    interpreter: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dag: str,
    params: dict[str, Any],
) -> None:
    """What the operator says was answered is what the step is about to do, word for word."""
    from tallywright.lifecycle.context import RunContext, RunOptions
    from tallywright.lifecycle.steps.promotion import _authentication
    from tallywright.orchestration.dags import model_dags
    from tallywright.spec import load_project
    from tallywright.spec.demands import committed_demands

    project = load_project("flight_delays", root=repository, overrides=["registry.approval=person"])
    step = model_dags(project)[f"flight_delays__{dag}"].task_dict["promote"]
    step.command = replace(step.command, interpreter=interpreter(HAND + WELL), root=tmp_path)
    step.execute(context(params, ti=Results(sealed(monkeypatch, f"flight_delays__{dag}"))))
    words = asked_for(tmp_path).replace("approved in Airflow", "approved_in_Airflow").split()
    given = {name.removeprefix("--"): value for name, _, value in (word.partition("=") for word in words)}
    options = RunOptions(
        effective_from=date.fromisoformat(given["effective-from"]) if "effective-from" in given else None,
        version=int(given["version"]) if "version" in given else None,
        by=given["by"],
        reason=given.get("reason", "").replace("_", " "),
    )
    asked = RunContext(project, date.fromisoformat(given["date"]), given["run-id"], options)
    monkeypatch.setenv("TALLYWRIGHT_ANSWER", handed(tmp_path))
    assert _authentication(asked, committed_demands(project.spec)) == "airflow"


def test_a_step_inherits_no_answer(task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TALLYWRIGHT_ANSWER", "forged")
    task(HAND + WELL).execute(context())
    assert handed(tmp_path) == ""


@pytest.mark.parametrize(("dag", "known"), [("train", "ada"), ("promote", "")])
def test_the_steps_of_a_training_know_who_started_it(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dag: str, known: str
) -> None:
    monkeypatch.setenv("TALLYWRIGHT_STARTED_BY", "forged")
    step = {"train": "register", "promote": "promote"}[dag]
    script = """env | sed -n 's/^TALLYWRIGHT_STARTED_BY=//p' > "$0.answer"; """
    task(script + WELL, dag=dag, step=step).execute(context({"version": 2}))
    assert handed(tmp_path) == known


@pytest.fixture
def promote(airflow: None, repository: Path, interpreter: Callable[[str], str], tmp_path: Path) -> Any:
    """The task that promotes what a person has approved."""
    from tallywright.orchestration.dags import model_dags
    from tallywright.spec import load_project

    project = load_project("flight_delays", root=repository, overrides=["registry.approval=person"])
    found = model_dags(project)["flight_delays__train"].task_dict["promote"]
    found.command = replace(found.command, interpreter=interpreter(HAND + WELL), root=tmp_path)
    return found


def test_an_approval_names_who_approved(promote: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    promote.execute(context(ti=Results(sealed(monkeypatch))))
    assert "--by=grace --reason=approved in Airflow" in asked_for(tmp_path)
    assert json.loads(handed(tmp_path))["request"]["by"] == "grace"


FORGED = {
    "nothing": lambda said: None,
    "without a seal": lambda said: said | {"seal": ""},
    "another's name": lambda said: said | {"responded_by_user": {"id": "2", "name": "ann"}},
    "a seal of no text": lambda said: said | {"seal": 7},
    "a no": lambda said: said | {"chosen_options": ["Reject"]},
    "both": lambda said: said | {"chosen_options": ["Approve", "Reject"]},
    "nobody": lambda said: said | {"responded_by_user": None},
}


@pytest.mark.parametrize("way", FORGED)
def test_what_was_written_in_the_place_of_an_approval_is_none(
    promote: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    """Who may edit XComs and mark tasks has not approved for that."""
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"who approved|not written by the task"):
        promote.execute(context(ti=Results(FORGED[way](sealed(monkeypatch)))))
    assert not (tmp_path / "interpreter.asked").exists()


def test_an_approval_of_another_run_is_none(promote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    for elsewhere in (sealed(monkeypatch, run="run-2"), sealed(monkeypatch, "another__train")):
        with pytest.raises(AirflowFailException, match="not written by the task"):
            promote.execute(context(ti=Results(elsewhere)))


def test_an_approval_of_another_version_of_this_run_is_none(promote: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training was run again, and the approval was not."""
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="not written by the task"):
        promote.execute(context(ti=Results(sealed(monkeypatch), version=3)))


def test_a_secret_that_is_rotated_still_knows_its_seal_and_none_seals_nothing(
    promote: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    said = sealed(monkeypatch)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "newer,a secret")
    promote.execute(context(ti=Results(said)))
    assert "--by=grace" in asked_for(tmp_path)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "")
    with pytest.raises(AirflowFailException, match="fernet_key is empty"):
        promote.execute(context(ti=Results(said)))


def test_a_result_is_small(task: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    big = json.dumps({"rows": "x" * 40_000})
    with pytest.raises(AirflowFailException, match="small JSON"):
        task(f"cat > \"$result\" <<'END'\n{big}\nEND").execute(context())


STORED = {
    "conn_type": "aws", "login": "lake-key-id", "password": "lake-Secret",
    "extra": {"region_name": "eu-west-1", "endpoint_url": "http://127.0.0.1:9", "allow_http": True},
}  # fmt: skip
SHOW = """env | grep '^AWS_' | sort > "$0.environment"; echo "the store said lake-Secret" >&2; """


def connected(operator: Any, name: str = "aws_lake") -> Any:
    operator.command = replace(operator.command, connection=name)
    return operator


def test_a_connections_credentials_reach_the_steps_environment_and_nothing_else(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKE", json.dumps(STORED))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the worker's own")
    operator = connected(task(SHOW + WELL))
    values = operator.execute(context())
    assert (tmp_path / "interpreter.environment").read_text().splitlines() == [
        "AWS_ACCESS_KEY_ID=lake-key-id",
        "AWS_ALLOW_HTTP=true",
        "AWS_EC2_METADATA_DISABLED=true",
        "AWS_ENDPOINT_URL=http://127.0.0.1:9",
        "AWS_REGION=eu-west-1",
        "AWS_SECRET_ACCESS_KEY=lake-Secret",
    ]
    assert not any(name.startswith("AWS_SECRET") for name in os.environ)
    shown = capsys.readouterr()
    for text in (asked_for(tmp_path), json.dumps(values), repr(operator.command), repr(operator.__dict__)):
        assert "lake-Secret" not in text
        assert "lake-key-id" not in text
    assert "the store said ***" in shown.out + shown.err
    assert "lake-Secret" not in shown.out + shown.err


def test_a_failing_step_does_not_show_the_connections_secret(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKE", json.dumps(STORED))
    with pytest.raises(AirflowException) as found:
        connected(task("env | grep AWS_; exit 11")).execute(context())
    assert "AWS_SECRET_ACCESS_KEY=***" in str(found.value)
    assert "lake-Secret" not in str(found.value)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        STORED | {"conn_type": "http"},
        STORED | {"login": ""},
        STORED | {"password": ""},
        STORED | {"extra": {"role_arn": "arn:aws:iam::1:role/x"}},
    ],
)
def test_a_connection_that_is_none_or_no_stores_fails_before_anything_runs(
    task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stored: dict[str, Any] | None
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    if stored is not None:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_LAKE", json.dumps(stored))
    with pytest.raises(AirflowFailException, match="aws_lake") as found:
        connected(task()).execute(context())
    assert "lake-Secret" not in str(found.value)
    assert not (tmp_path / "interpreter.asked").exists()


def test_the_overlays_connection_is_that_of_every_step(airflow: None, repository: Path) -> None:
    from tallywright.orchestration.dags import model_dags
    from tallywright.spec import load_project

    project = load_project("flight_delays", root=repository, overrides=["environment.storage.connection=aws_lake"])
    tasks = [
        task for dag in model_dags(project).values() for task in dag.task_dict.values() if hasattr(task, "command")
    ]
    assert {task.command.connection for task in tasks} == {"aws_lake"}
