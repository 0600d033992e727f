"""A real Airflow carries a model through its transitions: a decision trains, a person approves, a form rolls back.

One project and one Airflow serve the whole file; each stage is a fixture that rests on the stage before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from edits import EASY_GATES, edited

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import USER, EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest, RestError

MODEL = "late_orders"
SCORE, TRAIN, ROLLBACK, WATCH = (f"{MODEL}__{pipeline}" for pipeline in ("score", "train", "rollback", "watch"))
BACKFILLED, NEWEST = date(2025, 4, 4), date(2025, 4, 5)
DECIDED_AS_OF, APPROVED_FROM, ROLLED_BACK_FROM = "2025-04-06", "2025-04-07", "2025-04-08"
REFUSED, NEVER_SCORED = "2025-04-08", "2025-04-09"
REASON = "complaints from the north; see ticket 7"
WEAK, SOUND = ("epochs: 1\n    learning_rate: 1.0e-6", "epochs: 15\n    learning_rate: 2.0e-3")
POLICY = """
  performance_floor:
    roc_auc: {min: 0.99}
  psi_threshold: 100
  js_threshold: 1

retraining:
  num_evaluation_windows: 1
  num_violation_windows: 1
  cooldown_days: 0

"""
PERSON = """
registry:
  approval: person
  # One user starts the runs and answers.
  author_may_approve: true
"""
ODD, FINE = "slices look odd", "checked with the north | as agreed"

# Whichever test comes first may have to wait for every stage before it.
pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass(frozen=True, slots=True)
class Live:
    """The project, its Airflow, and how to talk to both."""

    airflow: EmbeddedAirflow
    rest: AirflowRest
    tally: Callable[..., str]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return list(json.loads(self.tally(self.airflow.root, "query", sql, "--json")))

    def promotions(self) -> list[dict[str, Any]]:
        columns = "sequence, action, model_version, effective_from, approver, reason"
        return self.rows(f"select {columns} from {MODEL}__promotions order by sequence")

    def ended(self, dag: str, run: str) -> str:
        """The state in which a run ends."""
        return self._until(lambda: self.rest.run_state(dag, run), {"success", "failed"}, f"the end of {dag} {run}")

    def task(self, dag: str, run: str, task: str, *states: str) -> str:
        """Waits until a task has one of the states; a run that ends otherwise gives the state it left the task in."""

        def look() -> str:
            found = self.rest.task_states(dag, run).get(task, "none")
            return found if found in states or self.rest.run_state(dag, run) not in ("success", "failed") else "missed"

        return self._until(look, {*states, "missed"}, f"{task} of {dag} {run}")

    def question(self, run: str) -> str:
        """The text of the form of a train run."""
        path = f"/dags/{TRAIN}/dagRuns/{quote(run, safe='')}/taskInstances/approval/-1/hitlDetails"
        return str(self.rest.call("GET", path)["body"])

    def answer(self, run: str, option: str, comment: str) -> dict[str, Any]:
        """Answers the approval of a train run as a person would, who does not answer in the moment of the question.

        Until the scheduler has heard that the asking process ended, Airflow takes the resumed task for a dead one.
        """
        assert self.task(TRAIN, run, "approval", "awaiting_input") == "awaiting_input", self.states(TRAIN, run)
        heard = f"Received executor event with state success for task instance TaskInstanceKey(dag_id='{TRAIN}', "
        heard += f"task_id='approval', run_id='{run}'"
        log = self.airflow.log_file("scheduler")
        self._until(lambda: str(heard in log.read_text()), {"True"}, "the end of the process that asks")
        path = f"/dags/{TRAIN}/dagRuns/{quote(run, safe='')}/taskInstances/approval/-1/hitlDetails"
        return self.rest.call("PATCH", path, {"chosen_options": [option], "params_input": {"comment": comment}})

    def clear(self, dag: str, run: str, *tasks: str) -> None:
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run, "task_ids": list(tasks)}
        cleared = self.rest.call("POST", f"/dags/{dag}/clearTaskInstances", body)
        assert {task["task_id"] for task in cleared["task_instances"]} == set(tasks)

    def train_runs(self) -> list[str]:
        """The train runs that were not started by hand."""
        return [run["dag_run_id"] for run in self.rest.runs(TRAIN) if not run["dag_run_id"].startswith("manual__")]

    def states(self, dag: str, run: str) -> dict[str, str]:
        return self.rest.task_states(dag, run)

    def _until(self, look: Callable[[], str], wanted: set[str], what: str) -> str:
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            found = look()
            if found in wanted:
                return found
            assert self.airflow.missing() == []
            time.sleep(1)
        pytest.fail(f"{what} did not come: {look()}")


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory,
    tally: Callable[..., str],
    served: Callable[[Path], AbstractContextManager[EmbeddedAirflow]],
) -> Iterator[Live]:
    """A project whose champion is weak and whose policy is strict, with two days scored, and its Airflow."""
    root = tmp_path_factory.mktemp("transitions") / "sample"
    tally(root.parent, "init", str(root), "--model", MODEL)
    model = root / "models" / MODEL / "model.yaml"
    text = edited(model.read_text(), *EASY_GATES).rstrip() + POLICY
    model.write_text(edited(text, ("epochs: 30", WEAK)))
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", NEVER_SCORED)
    # Days after its fit are there, on which a candidate of the first days of April is compared with it.
    tally(root, "train", MODEL, "--date", "2025-03-25", "--effective-from", "2025-04-01", "--by", "a test")
    # From here on a person approves: what version 1 had to show stands in its package.
    model.write_text(text.replace("epochs: 30", SOUND) + PERSON)
    tally(root, "backfill", MODEL, "--from", "2025-04-02", "--to", "2025-04-03")
    with served(root) as airflow:
        yield Live(airflow, local.client(airflow), tally)


@pytest.fixture(scope="module")
def backfill_run(live: Live, backfilled: Callable[..., list[dict[str, Any]]]) -> str:
    """The one run of a backfill of the newest day, on which the labels of the first one mature."""
    (run,) = backfilled(live.airflow, live.rest, MODEL, BACKFILLED, BACKFILLED)
    assert run["state"] == "success", live.states(SCORE, run["dag_run_id"])
    return str(run["dag_run_id"])


@pytest.fixture(scope="module")
def trains_after_backfill(live: Live, backfill_run: str) -> list[str]:
    return live.train_runs()


@pytest.fixture(scope="module")
def manual_run(live: Live, trains_after_backfill: list[str]) -> str:
    """A run of the next day, started by hand, to its end."""
    run = live.rest.trigger(SCORE, {"date": str(NEWEST)})
    assert live.ended(SCORE, run) == "success", live.states(SCORE, run)
    return run


@pytest.fixture(scope="module")
def states_of_manual_run(live: Live, manual_run: str) -> dict[str, str]:
    """The task states of that run before anybody repeats a part of it."""
    return live.states(SCORE, manual_run)


@pytest.fixture(scope="module")
def decision(live: Live, manual_run: str) -> dict[str, Any]:
    """The standing decision of the newest day."""
    (found,) = live.rows(
        f"select decision_id, retrain, state from {MODEL}__decisions where score_date = '{NEWEST}' and not superseded"
    )
    return found


@pytest.fixture(scope="module")
def decided_train(decision: dict[str, Any]) -> str:
    """The id of the train run that the decision starts."""
    return f"decision_{NEWEST:%Y%m%d}_{decision['decision_id'][:32]}"


@pytest.fixture(scope="module")
def rejected(live: Live, decided_train: str) -> dict[str, str]:
    """The task states of the decision's train run after a person said no."""
    live.answer(decided_train, "Reject", ODD)
    assert live.ended(TRAIN, decided_train) == "success", live.states(TRAIN, decided_train)
    return live.states(TRAIN, decided_train)


@pytest.fixture(scope="module")
def log_after_rejection(live: Live, rejected: dict[str, str]) -> list[dict[str, Any]]:
    return live.promotions()


@pytest.fixture(scope="module")
def approved(live: Live, log_after_rejection: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of Airflow to a yes, once the run that asked has ended well."""
    run = live.rest.trigger(TRAIN, {"date": APPROVED_FROM, "effective_from": APPROVED_FROM})
    answer = live.answer(run, "Approve", FINE)
    assert live.ended(TRAIN, run) == "success", live.states(TRAIN, run)
    return answer


@pytest.fixture(scope="module")
def log_after_approval(live: Live, approved: dict[str, Any]) -> list[dict[str, Any]]:
    return live.promotions()


def test_a_backfill_decides_to_retrain_and_starts_nothing(
    live: Live, backfill_run: str, trains_after_backfill: list[str]
) -> None:
    (found,) = live.rows(f"select retrain from {MODEL}__decisions where score_date = '{BACKFILLED}' and not superseded")
    assert found["retrain"] is True
    assert live.states(SCORE, backfill_run)["trigger_train"] == "skipped"
    assert trains_after_backfill == []


def test_a_decision_starts_one_training_with_its_id(
    live: Live, manual_run: str, states_of_manual_run: dict[str, str], decision: dict[str, Any], decided_train: str
) -> None:
    assert decision["retrain"] is True
    assert states_of_manual_run["trigger_train"] == "success"
    assert states_of_manual_run["catch_up"] == "skipped"
    assert live.train_runs() == [decided_train]
    path = f"/dags/{TRAIN}/dagRuns/{decided_train}"
    assert live.rest.call("GET", path)["conf"] == {"date": DECIDED_AS_OF, "effective_from": DECIDED_AS_OF}
    (action,) = live.rows(f"select decision_id, run_id from {MODEL}__actions")
    assert action == {"decision_id": decision["decision_id"], "run_id": manual_run}


@pytest.mark.long
def test_repeating_the_run_starts_no_second_training(
    live: Live, manual_run: str, states_of_manual_run: dict[str, str], decided_train: str
) -> None:
    assert states_of_manual_run["trigger_train"] == "success"
    live.clear(SCORE, manual_run, "monitor", "trigger_train")
    assert live.ended(SCORE, manual_run) == "success", live.states(SCORE, manual_run)
    assert live.states(SCORE, manual_run)["trigger_train"] == "skipped"
    assert live.train_runs() == [decided_train]


@pytest.mark.long
def test_a_rejected_candidate_leaves_the_champion_alone(
    rejected: dict[str, str], log_after_rejection: list[dict[str, Any]]
) -> None:
    assert (rejected["register"], rejected["approval"], rejected["promote"]) == ("success", "success", "skipped")
    first, no = log_after_rejection
    assert (first["model_version"], first["action"]) == (1, "promote")
    assert (no["action"], no["reason"], no["approver"].lower()) == ("reject", ODD, USER)
    assert no["model_version"] > 1


def test_the_form_shows_the_version_and_its_checks(live: Live, log_after_rejection: list[dict[str, Any]]) -> None:
    (no,) = (line for line in log_after_rejection if line["action"] == "reject")
    body = live.question(live.train_runs()[0])
    assert "| verdict | check | candidate | champion, interval | bound |" in body
    assert f"version {no['model_version']}" in body
    assert "superiority" in body


def test_an_approved_candidate_is_promoted_in_the_name_of_who_answered(
    approved: dict[str, Any], log_after_approval: list[dict[str, Any]]
) -> None:
    first, line = (one for one in log_after_approval if one["action"] == "promote")
    assert line["model_version"] > first["model_version"]
    assert line["effective_from"] == APPROVED_FROM
    assert line["approver"].lower() == approved["responded_by"]["name"].lower() == USER
    assert line["reason"] == FINE


def test_the_rollback_form_brings_the_champion_before_back(
    live: Live, log_after_approval: list[dict[str, Any]]
) -> None:
    run = live.rest.trigger(ROLLBACK, {"date": ROLLED_BACK_FROM, "reason": REASON})
    assert live.ended(ROLLBACK, run) == "success", live.states(ROLLBACK, run)
    *before, line = live.promotions()
    assert before == log_after_approval
    assert line["action"] == "rollback"
    assert line["model_version"] == before[0]["model_version"]
    assert (line["effective_from"], line["reason"], line["approver"]) == (ROLLED_BACK_FROM, REASON, USER)


def test_the_watch_is_red_for_a_due_day_without_a_tally(live: Live, manual_run: str) -> None:
    due, done = (live.rest.trigger(WATCH, {"date": day}) for day in (NEVER_SCORED, str(NEWEST)))
    assert live.ended(WATCH, due) == "failed"
    assert f"has no tally of {NEVER_SCORED}" in live.rest.task_log(WATCH, due, "watch")
    assert live.ended(WATCH, done) == "success"


def test_a_refused_day_is_a_row_and_its_task_and_its_run_stay_red(live: Live, manual_run: str) -> None:
    raw = live.airflow.root / "models" / MODEL / "raw" / "orders.csv"
    lines = raw.read_text().splitlines(keepends=True)
    raw.write_text("".join(line for line in lines if f"{REFUSED} " not in line))
    run = live.rest.trigger(SCORE, {"date": REFUSED})
    assert live.ended(SCORE, run) == "failed"
    assert live.states(SCORE, run)["ingest"] == "failed"
    assert f"score date {REFUSED}, from params.date" in live.rest.task_log(SCORE, run, "ingest")
    (row,) = live.rows(
        f"select state, reason, exit_code from {MODEL}__periods where score_date = '{REFUSED}' and not superseded"
    )
    assert row == {"state": "refused", "reason": "input", "exit_code": 4}


@pytest.mark.parametrize("bad", ["2025-04-02; rm -rf /", "2025-04-02' or 1=1 --", "{{ 7 * 7 }}"])
def test_the_api_refuses_a_param_with_sql_or_shell_in_it(bad: str, live: Live) -> None:
    with pytest.raises(RestError, match="400"):
        live.rest.trigger(SCORE, {"date": bad})


def test_starting_what_runs_changes_nothing(live: Live) -> None:
    before = live.airflow.running()
    local.start(live.airflow)
    assert live.airflow.running() == before
    assert live.airflow.missing() == []
