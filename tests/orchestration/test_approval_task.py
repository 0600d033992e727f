"""The approval task: a no is recorded in the name of who said it, silence is neither, and the form hides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tallywright.orchestration.command import StepCommand
from tallywright.spec import load_project
from tallywright.spec.demands import committed_demands

from .test_operator import HAND, WELL, asked_for, context, handed

TRAIN = "flight_delays__train"


class ByTask:
    """The part of a task instance that tells what tasks of its run returned, by name."""

    map_index = -1

    def __init__(self, returned: dict[str, Any]) -> None:
        self.returned = returned

    def xcom_pull(self, task_ids: str) -> Any:
        return self.returned[task_ids]

    def xcom_push(self, key: str, value: object) -> None:
        """Kept by Airflow; of no interest here."""


VERSION = {"version": 3, "digest": "d" * 64}
REGISTERED = ByTask({"register": VERSION})


def event(option: str, **changes: Any) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {"comment": "slices look odd"},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "grace"},
    } | changes


@pytest.fixture
def approval(
    airflow: None, interpreter: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Makes the task with a stand-in for the commands of its parts."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Param

    from tallywright.orchestration.approval_task import SealedApproval
    from tallywright.spec.schedule import Schedule

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret")

    def make(script: str = HAND + WELL) -> Any:
        command = StepCommand(interpreter(script), tmp_path, "flight_delays", "reject")
        dag = DAG(TRAIN, schedule=None)
        task = SealedApproval(
            task_id="approval", subject="?", commands={"reject": command}, dag=dag,
            schedule=Schedule(start_date=date(2013, 1, 1)), params={"comment": Param("", type="string")},
        )  # fmt: skip
        task >> EmptyOperator(task_id="promote", dag=dag)
        return task

    return make


def test_a_no_is_recorded_by_a_command_that_knows_who_said_it(
    approval: Callable[..., Any], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import DownstreamTasksSkipped

    from tallywright.lifecycle.context import RunContext, RunOptions
    from tallywright.lifecycle.steps.promotion import _authentication

    task = approval()
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        task.execute_complete(context(ti=REGISTERED, task=task), event("Reject"))
    assert skipped.value.tasks == ["promote"]
    asked = asked_for(tmp_path)
    assert "run flight_delays reject --date=2013-06-27 --run-id=run-1" in asked
    assert asked.endswith("--version=3 --by=grace --reason=slices look odd")
    # Word for word what the step is about to record.
    monkeypatch.setenv("TALLYWRIGHT_ANSWER", handed(tmp_path))
    options = RunOptions(version=3, by="grace", reason="slices look odd")
    project = load_project("flight_delays", root=repository)
    step = RunContext(project, date(2013, 6, 27), "run-1", options)
    assert _authentication(step, committed_demands(project.spec), answer="reject") == "airflow"


def test_a_no_that_cannot_be_recorded_is_red(approval: Callable[..., Any]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="reject failed with exit code 8"):
        approval("exit 8").execute_complete(context(ti=REGISTERED), event("Reject"))
    with pytest.raises(AirflowFailException, match="does not say which version"):
        approval().execute_complete(context(ti=ByTask({"register": None})), event("Reject"))


def test_a_yes_records_nothing_by_itself(approval: Callable[..., Any], tmp_path: Path) -> None:
    answered = approval().execute_complete(context(ti=REGISTERED), event("Approve"))
    assert answered["seal"]
    assert not (tmp_path / "interpreter.asked").exists()


def test_silence_is_no_answer(approval: Callable[..., Any], tmp_path: Path) -> None:
    from airflow.providers.standard.exceptions import HITLTimeoutError

    waited = {"error": "The timeout has passed.", "error_type": "timeout"}
    with pytest.raises(HITLTimeoutError):
        approval().execute_complete(context(ti=REGISTERED), waited)
    assert not (tmp_path / "interpreter.asked").exists()


def test_the_comment_of_a_yes_is_sealed_and_becomes_the_reason(
    approval: Callable[..., Any], dags: dict[str, Any]
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from tallywright.orchestration.approval import approval_of

    answered = approval().execute_complete(context(ti=REGISTERED), event("Approve"))
    returned = {"approval": answered, "register": VERSION}
    found = approval_of(context(ti=ByTask(returned)), TRAIN, "approval")
    assert (found.by, found.comment) == ("grace", "slices look odd")
    returned["approval"] = json.loads(json.dumps(answered, default=str)) | {"params_input": {"comment": "all is well"}}
    with pytest.raises(AirflowFailException, match="was not written by the task approval"):
        approval_of(context(ti=ByTask(returned)), TRAIN, "approval")


def test_nobody_is_asked_about_an_undecided_version(approval: Callable[..., Any], tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    undecided = {"register": VERSION | {"verdict": "undecided"}}
    with pytest.raises(AirflowSkipException, match="it scores in shadow"):
        approval().execute(context(ti=ByTask(undecided)))
    assert not (tmp_path / "interpreter.asked").exists()
