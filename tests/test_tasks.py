"""What the record of a task says is what packages, formulas and spec do."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from tallywright.packaging.manifest import Postprocess
from tallywright.spec.model import Gates, Training
from tallywright.tasks import HIGHER_IS_BETTER, TASKS, Task, TaskName


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_record_agrees_with_the_package_and_with_itself(task: Task) -> None:
    assert TASKS[task.name] is task
    assert Training(task=task.name, numeric=("x",)).kind is task
    classes = ("a", "b", "c") if task.per_class else ()
    assert tuple(Postprocess(task=task.name, classes=classes).output_schema.names) == task.outputs
    assert task.score_column in task.outputs
    assert set(task.guards) <= task.metrics <= HIGHER_IS_BETTER.keys()
    assert task.thresholds is (task.name == "binary")
    assert task.per_class is (task.name == "multiclass")
    assert task.classifies is (task.name != "regression")


def test_every_task_has_a_record_and_the_default_of_the_spec() -> None:
    assert set(TASKS) == set(get_args(TaskName))
    assert {task.primary_metric for task in TASKS.values()} == {Gates().primary_metric} == {"roc_auc"}


def test_a_constant_is_an_answer_of_the_task() -> None:
    assert TASKS["binary"].constant == (0, 1)
    assert TASKS["multiclass"].constant is None
    assert TASKS["regression"].constant == (-math.inf, math.inf)
