from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tallywright.errors import SpecError, UsageError
from tallywright.lifecycle.plan import Actor, Pipeline, plan
from tallywright.orchestration.doc_md import backfill_bounds
from tallywright.spec import load_project

MODEL = "flight_delays"


def test_airflow_finds_every_dag_and_no_import_error(airflow: None, repository: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(repository / "dags"), bundle_path=repository / "dags", load_op_links=False)
    assert bag.import_errors == {}
    assert sorted(bag.dag_ids) == [f"{model}__{name}" for model in ("credit_risk", MODEL) for name in sorted(Pipeline)]


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_the_tasks_are_the_steps_of_the_plan(pipeline: Pipeline, dags: dict[str, Any], repository: Path) -> None:
    steps = plan(load_project(MODEL, root=repository).spec, pipeline)
    dag = dags[f"{MODEL}__{pipeline.value}"]
    assert list(dag.task_dict) == [step.name for step in steps]
    for step in steps:
        task = dag.task_dict[step.name]
        assert task.upstream_task_ids == set(step.needs)
        assert task.retries == step.retries
        assert task.execution_timeout == step.timeout
        assert (task.pool == "tallywright") is step.heavy
        assert [asset.name for asset in task.outlets] == [f"{MODEL}__{table}" for table in step.produces]
        if step.actor is Actor.COMMAND:
            assert task.command.step == step.name


def test_every_dag_says_whose_it_is_and_how_to_do_the_same_by_hand(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert "flight-operations@example.com" in dag.doc_md
        assert f"tally run {MODEL}" in dag.doc_md
        assert {"tallywright", MODEL} <= dag.tags
        assert dag.catchup is False
        assert all(task.owner == "Flight operations analytics" for task in dag.tasks)
        assert all(task.on_failure_callback for task in dag.tasks)
        assert dag.max_active_runs <= 2


def test_historical_data_are_not_scheduled_today(dags: dict[str, Any]) -> None:
    zone = ZoneInfo("America/New_York")
    for name in ("score", "watch", "maintain"):
        dag = dags[f"{MODEL}__{name}"]
        limits = dag.schedule.serialize()
        assert datetime.fromisoformat(limits["first"]) == datetime(2013, 1, 1, tzinfo=zone)
        assert datetime.fromisoformat(limits["last"]) == datetime(2013, 12, 31, 23, 59, 59, tzinfo=zone)
    assert dags[f"{MODEL}__score"].schedule.summary == "0 4 * * *"
    assert dags[f"{MODEL}__watch"].schedule.summary == "0 6 * * *"
    assert dags[f"{MODEL}__maintain"].schedule.summary == "0 2 * * 0"
    assert dags[f"{MODEL}__maintain"].max_active_runs == 1
    assert dags[f"{MODEL}__train"].schedule is None


def test_a_run_has_its_tasks_whatever_its_logical_date_is(dags: dict[str, Any]) -> None:
    # Airflow leaves a task out of a run before the task's start date or after its end date: the run would be green.
    for dag in dags.values():
        for task in core_dag(dag).tasks:
            assert (task.start_date, task.end_date) == (None, None), f"{dag.dag_id} {task.task_id}"


def core_dag(dag: Any) -> Any:
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def test_a_backfill_of_seven_days_makes_exactly_those_seven(dags: dict[str, Any], repository: Path) -> None:
    spec = load_project(MODEL, root=repository).spec
    first, last = date(2013, 3, 7), date(2013, 3, 13)  # the clocks change on the 10th
    start, end = (datetime.fromisoformat(text) for text in backfill_bounds(spec, first, last))
    runs = list(core_dag(dags[f"{MODEL}__score"]).iter_dagrun_infos_between(start, end))
    zone = ZoneInfo("America/New_York")
    days = [run.data_interval.start.astimezone(zone).date() for run in runs]
    assert days == [first + timedelta(days=n) for n in range(7)]


@pytest.mark.parametrize("bad", ["2013-06-27; rm -rf /", "' or 1=1 --", "$(reboot)", "{{ 7 * 7 }}", "2013-13-01", 5])
@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_a_form_refuses_what_is_not_a_date(bad: object, pipeline: Pipeline, dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = dags[f"{MODEL}__{pipeline.value}"].params
    with pytest.raises(ParamValidationError):
        params["date"] = bad
    params["date"] = "2013-06-27"
    params.validate()


@pytest.mark.parametrize(("answer", "flags"), [(None, False), (False, False), (True, True)])
def test_the_form_of_maintenance_asks_for_a_dry_run(answer: object, flags: object, dags: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    from tallywright.orchestration.params import options

    assert options(Pipeline.MAINTAIN, {"params": {"dry_run": answer}}, acts=False) == {"dry-run": flags}
    with pytest.raises(UsageError, match="dry_run"):
        options(Pipeline.MAINTAIN, {"params": {"dry_run": "yes; reboot"}}, acts=False)
    params = dags[f"{MODEL}__maintain"].params
    with pytest.raises(ParamValidationError):
        params["dry_run"] = "yes; reboot"


def test_every_field_of_a_form_is_typed_and_described(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        for name in dag.params:
            schema = dag.params.get_param(name)
            assert schema.schema["type"], name
            assert schema.description, name
            assert schema.schema["title"], name


def test_a_person_approves_without_a_default(airflow: None, repository: Path) -> None:
    from tallywright.orchestration.dags import model_dags

    project = load_project(
        MODEL, root=repository, overrides=["registry.approval=person", "registry.approvers=[ada,grace]"]
    )
    train = model_dags(project)[f"{MODEL}__train"]
    approval = train.task_dict["approval"]
    assert approval.defaults is None
    assert approval.response_timeout == timedelta(hours=24)
    assert [user["name"] for user in approval.assigned_users] == ["ada", "grace"]
    assert train.task_dict["promote"].upstream_task_ids == {"approval"}


def test_where_versions_go_through_stages_the_daily_dag_leads_them(airflow: None, repository: Path) -> None:
    from tallywright.orchestration.dags import model_dags

    rollout = "rollout={stages: [{stage: shadow, days: 7}, {stage: canary, share: 0.1, days: 7}]}"
    project = load_project(MODEL, root=repository, overrides=[rollout, "registry.approval=person"])
    dags = model_dags(project)
    advance = dags[f"{MODEL}__score"].task_dict["advance"]
    assert advance.upstream_task_ids == {"monitor"}
    assert [asset.name for asset in advance.outlets] == [f"{MODEL}__promotions"]
    # A person is asked when there is something to see, and not at the end of a training.
    assert "approval" not in dags[f"{MODEL}__train"].task_dict


def test_a_broken_spec_costs_only_its_own_dags(airflow: None, project_copy: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    broken = project_copy / "models" / "broken" / "model.yaml"
    broken.parent.mkdir()
    broken.write_text("name: broken\nscedule: {}\n")
    bag = DagBag(dag_folder=str(project_copy / "dags"), bundle_path=project_copy / "dags", load_op_links=False)
    assert f"{MODEL}__score" in bag.dag_ids
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("tallywright_broken_specs.py")
    assert "broken has no DAGs" in error
    assert "scedule" in error


def test_the_check_of_specs_names_every_problem(project_copy: Path) -> None:
    from tallywright.orchestration.projects import require_valid_specs

    require_valid_specs(project_copy)
    for name in ("one", "two"):
        (project_copy / "models" / name).mkdir()
        (project_copy / "models" / name / "model.yaml").write_text("name: [")
    with pytest.raises(SpecError, match=r"(?s)one has no DAGs.*two has no DAGs"):
        require_valid_specs(project_copy)
