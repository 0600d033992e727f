"""What the record of a task says is what packages, formulas and spec do."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError
from synthetic import make_spec

from tallywright.gates.evidence.daily import daily_metric
from tallywright.metrics import evaluate
from tallywright.packaging.manifest import Postprocess
from tallywright.spec.sections import Gates, Training
from tallywright.tasks import TASKS, PrimaryMetric, Task, TaskName, metric_of


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_record_agrees_with_the_package_and_with_itself(task: Task) -> None:
    assert TASKS[task.name] is task
    assert Training(task=task.name, numeric=("x",)).kind is task
    classes = ("a", "b", "c") if task.per_class else ()
    assert tuple(Postprocess(task=task.name, classes=classes).output_schema.names) == task.outputs
    assert task.score_column in task.outputs
    assert set(task.guards) <= task.metrics
    assert all(metric_of(name).name == name for name in task.metrics)
    assert task.thresholds is (task.name == "binary")
    assert task.per_class is (task.name == "multiclass")
    assert task.classifies is (task.name != "regression")


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_default_metric_is_one_of_the_task_and_has_evidence(task: Task) -> None:
    """What the spec accepts as a metric is computed, has a direction, and can be compared in pairs or is no primary."""
    spec = make_spec(training={"task": task.name})
    assert spec.gates.primary_metric == task.primary_metric
    assert {task.primary_metric, *task.guards, *task.reported} <= task.metrics
    target, scores = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.7, 0.4, 0.1])
    if task.per_class:
        scores = np.stack([1 - scores, scores], axis=1)
    figures = evaluate(target, scores, task=task.name)
    assert figures.keys() == task.metrics
    for metric in task.metrics & set(get_args(PrimaryMetric)):
        once = daily_metric(metric, target, scores, np.zeros(4, np.int64), task=task.name).value
        assert once == pytest.approx(figures[metric])
    for metric in {name for one in TASKS.values() for name in one.metrics} - task.metrics:
        with pytest.raises(KeyError):
            daily_metric(metric, target, scores, np.zeros(4, np.int64), task=task.name)
        with pytest.raises(ValidationError, match="no metric of the task"):
            make_spec(training={"task": task.name}, monitoring={"performance_floor": {metric: {"min": 0.0}}})


def test_every_task_has_a_record_and_the_default_of_the_spec() -> None:
    assert set(TASKS) == set(get_args(TaskName))
    assert Gates().primary_metric == TASKS["binary"].primary_metric == "roc_auc"
    assert {name: task.primary_metric for name, task in TASKS.items()} == {
        "binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse",
    }  # fmt: skip


def test_the_gates_of_a_binary_model_keep_their_identity() -> None:
    assert make_spec().gates.identity() == Gates().identity()
    given = make_spec(training={"task": "regression"}, gates={"primary_metric": "mae"}).gates
    assert given.primary_metric == "mae"
    assert make_spec(training={"task": "regression"}).gates.identity() != Gates().identity()


@pytest.mark.parametrize(
    ("data", "training", "message"),
    [
        ({}, {"numeric": ["x0", "late"], "target": "late"}, "training.target 'late' is in training.numeric: a leak"),
        ({}, {"categorical": ["late"], "target": "late"}, "training.target 'late' is in training.categorical: a leak"),
        ({"late": "DOUBLE"}, {"target": "late"}, "training.target 'late' and data.columns.late clash"),
        ({"Late": "DOUBLE"}, {"target": "late"}, "training.target 'late' and data.columns.Late clash"),
        ({}, {"target": "prediction"}, "reserved name 'prediction'"),
        ({}, {"target": "label_time"}, "reserved name 'label_time'"),
        ({}, {"positive": True}, "quote the class"),
        ({}, {"task": "regression", "positive": "yes"}, "`positive` means nothing to the task regression"),
        ({}, {"unit": "hours"}, "`unit` means nothing to the task binary"),
    ],
)
def test_a_target_that_is_known_when_a_row_is_scored_is_refused(
    data: dict[str, str], training: dict[str, Any], message: str
) -> None:
    columns = {"order_id": "VARCHAR", "score_moment": "TIMESTAMP", "x0": "DOUBLE"} | data
    with pytest.raises(ValidationError, match=message):
        make_spec(1, 0, data={"columns": columns}, training=training)


def test_a_constant_is_an_answer_of_the_task() -> None:
    assert TASKS["binary"].constant == (0, 1)
    assert TASKS["multiclass"].constant is None
    assert TASKS["regression"].constant == (-math.inf, math.inf)
