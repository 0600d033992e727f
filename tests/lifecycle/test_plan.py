from __future__ import annotations

import pytest

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import Actor, Pipeline, find_step, plan
from tallywright.lifecycle.run import function_of
from tallywright.spec import load_project


@pytest.fixture(scope="module")
def spec(repository):
    return load_project("flight_delays", root=repository).spec


@pytest.mark.parametrize("pipeline", Pipeline)
def test_steps_come_after_what_they_need_and_have_one_name(spec, pipeline: Pipeline) -> None:
    seen: set[str] = set()
    for step in plan(spec, pipeline):
        assert set(step.needs) <= seen
        assert step.name not in seen
        seen.add(step.name)


def test_a_persons_approval_stands_between_register_and_promote(repository) -> None:
    project = load_project("flight_delays", root=repository, overrides=["registry.approval=person"])
    steps = {step.name: step for step in plan(project.spec, Pipeline.TRAIN)}
    assert steps["approval"].actor is Actor.APPROVAL
    assert steps["approval"].needs == ("register",)
    assert steps["promote"].needs == ("approval",)


def test_a_policy_without_trigger_triggers_nothing(repository) -> None:
    quiet = ["retraining.trigger=false", "schedule.catch_up=0"]
    project = load_project("flight_delays", root=repository, overrides=quiet)
    assert all(step.actor is Actor.COMMAND for step in plan(project.spec, Pipeline.SCORE))


def test_a_step_is_found_by_either_spelling(spec) -> None:
    assert find_step(spec, "day-gate") == find_step(spec, "day_gate")
    assert find_step(spec, "quality_gate")[0] is Pipeline.TRAIN


@pytest.mark.parametrize("pipeline", Pipeline)
def test_every_step_names_a_function_that_runs_it_or_is_airflows(spec, pipeline: Pipeline) -> None:
    for step in plan(spec, pipeline):
        for one in (step, *step.parts):
            if one.actor is Actor.COMMAND:
                assert callable(function_of(one))
                assert function_of(one).__name__ == one.name
            else:
                assert not one.runs


def test_a_scored_day_is_six_tasks_and_its_parts_can_be_run_by_themselves(spec) -> None:
    steps = plan(spec, Pipeline.SCORE)
    assert [step.name for step in steps] == ["ingest", "day_gate", "score", "monitor", "trigger_train", "catch_up"]
    for part in ("resolve", "profile", "drift", "labels", "performance", "decide"):
        assert find_step(spec, part)[1].name == part


@pytest.mark.parametrize("name", ["scor", "approval", "trigger_train", "; rm -rf /"])
def test_an_unknown_step_names_the_known_ones(spec, name: str) -> None:
    with pytest.raises(UsageError, match="expected: one of ingest, day_gate"):
        find_step(spec, name)
