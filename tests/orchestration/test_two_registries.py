"""The DAGs of a training environment and of production: each its own, and tasks of prod where its workers are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from synthetic import make_project

from tallywright.lifecycle.plan import Pipeline
from tallywright.spec import load_project

DEV = {
    "storage": {"lake": "dev/lake"},
    "tracking": {"uri": "http://dev"},
    "registries": {
        "here": "training",
        "production": {
            "name": "prod",
            "storage": {"lake": "prod/lake"},
            "tracking": {"uri": "http://prod", "username": "reader"},
        },
    },
}
PROD = {
    "storage": {"lake": "prod/lake"},
    "tracking": {"uri": "http://prod"},
    "registries": {
        "here": "production",
        "training": {
            "name": "dev",
            "storage": {"lake": "dev/lake"},
            "tracking": {"uri": "http://dev", "username": "reader"},
        },
    },
}
BOTH = PROD | {"engine": {"queues": {"train": "dev", "promote": "prod"}, "pools": {"promote": "promotions"}}}


@pytest.fixture
def dags_of(airflow: None, tmp_path: Path) -> Any:
    from tallywright.orchestration.dags import model_dags

    def make(overlay: dict[str, Any], **sections: Any) -> dict[str, Any]:
        make_project(tmp_path, **sections)
        (tmp_path / "conf/here.yaml").write_text(yaml.safe_dump(overlay))
        found = model_dags(load_project("shop", root=tmp_path, environment="here"))
        return {name.removeprefix("shop__"): dag for name, dag in found.items()}

    return make


def tasks(dag: Any) -> list[str]:
    return list(dag.task_dict)


def test_a_training_environment_has_no_dag_that_promotes_or_scores(dags_of: Any) -> None:
    dags = dags_of(DEV, registry={"approval": "person"})
    assert set(dags) == {"train", "maintain"}
    assert tasks(dags["train"])[-1] == "register"


def test_production_has_no_dag_that_trains_and_asks_whose_number_it_is(dags_of: Any) -> None:
    dags = dags_of(PROD, retraining={"trigger": True})
    assert set(dags) == {str(one) for one in Pipeline} - {"train"}
    promote = dags["promote"]
    assert tasks(promote) == ["arrive", "judge", "promote"]
    assert promote.task_dict["judge"].upstream_task_ids == {"arrive"}
    assert promote.params["from"] == "dev"
    assert "trigger_train" not in tasks(dags["score"])


def test_with_one_registry_nothing_is_asked(dags_of: Any) -> None:
    dags = dags_of({})
    assert tasks(dags["promote"]) == ["judge", "promote"]
    assert "from" not in dags["promote"].params
    assert {task.queue for dag in dags.values() for task in dag.tasks} == {"default"}


def test_what_needs_credentials_is_queued_for_the_workers_that_have_them(dags_of: Any) -> None:
    dags = dags_of(BOTH, retraining={"trigger": True})
    assert "trigger_train" in tasks(dags["score"])
    assert {task.queue for task in dags["promote"].tasks} == {"prod"}
    assert {task.pool for task in dags["promote"].tasks} == {"promotions"}
    train = {task.task_id: task.queue for task in dags["train"].tasks}
    # A worker of training has no such task in its DAG.
    assert train.pop("trigger_promote") == "default"
    assert set(train.values()) == {"dev"}
    assert {task.queue for task in dags["score"].tasks} == {"default"}
    assert dags["train"].task_dict["train"].pool == "tallywright"


def test_the_options_of_a_step_name_the_registry(dags_of: Any) -> None:
    from tallywright.errors import UsageError
    from tallywright.orchestration.params import options

    run = SimpleNamespace(run_type="manual", triggering_user_name="ann")
    given = {"params": {"version": 3, "from": "dev"}, "dag_run": run}
    assert options(Pipeline.PROMOTE, given, acts=False)["from"] == "dev"
    assert "from" not in options(Pipeline.PROMOTE, {"params": {"version": 3, "from": None}, "dag_run": run}, acts=False)
    with pytest.raises(UsageError, match=r"params\.from"):
        options(Pipeline.PROMOTE, {"params": {"version": 3, "from": "--key"}, "dag_run": run}, acts=False)


class _Results:
    def __init__(self, result: Any) -> None:
        self.result = result

    def xcom_pull(self, task_ids: str) -> Any:
        assert task_ids == "register"
        return self.result


def test_where_both_dags_are_the_policy_goes_on_by_itself(dags_of: Any) -> None:
    from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

    trigger = dags_of(BOTH)["train"].task_dict["trigger_promote"]

    def context(result: Any) -> dict[str, Any]:
        run = SimpleNamespace(run_type="manual", run_id="run", logical_date=None, data_interval_start=None,
                              data_interval_end=None, partition_key=None, run_after=None, conf={})  # fmt: skip
        return {"params": {"date": "2024-03-01", "reason": "drift"}, "dag_run": run, "ti": _Results(result)}

    passed = {"version": 3, "digest": "ab" * 32, "verdict": "passed"}
    with pytest.raises(DagRunTriggerException) as found:
        trigger.execute(context(passed))
    assert found.value.trigger_dag_id == "shop__promote"
    assert found.value.dag_run_id == f"arrival_{'ab' * 16}"
    assert found.value.conf == {
        "date": "2024-03-01",
        "effective_from": "2024-03-01",
        "version": 3,
        "from": "dev",
        "reason": "drift",
    }
    for other in (passed | {"verdict": "undecided"}, None):
        with pytest.raises(AirflowSkipException):
            trigger.execute(context(other))


def test_where_a_person_approves_nothing_goes_on_by_itself(dags_of: Any) -> None:
    assert tasks(dags_of(BOTH, registry={"approval": "person"})["train"])[-1] == "register"
