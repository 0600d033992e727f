"""What workers of Spark return, without Spark: exact whatever the order and however often."""

from __future__ import annotations

import pickle

import pytest

from tallywright import errors
from tallywright.errors import EngineError, InputError, TallyError
from tallywright.scoring.engines.spark.failures import engine_error, without_java
from tallywright.scoring.engines.spark.worker import ResultsByTask, TaskResult
from tallywright.scoring.worker.failure import Failure

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, TallyError)]
JAVA = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times
Traceback (most recent call last):
  File "worker.py", line 1, in main
    1 / 0
ZeroDivisionError: division by zero

\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:3000)
"""


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_travels_as_a_result(cls) -> None:
    result = TaskResult(failure=Failure.of(cls("found", expected="that", remedy="do so")))
    failure = TaskResult.from_json(result.to_json()).failure
    assert failure is not None
    error = failure.error()
    assert (type(error), error.found, error.expected, error.remedy) == (cls, "found", "that", "do so")


def test_an_error_of_a_class_of_its_own_travels_as_the_declared_one() -> None:
    class SpecialError(InputError):
        pass

    assert type(Failure.of(SpecialError("found")).error()) is InputError


def test_a_task_that_ran_twice_counts_once() -> None:
    heard: list[str] = []
    results = ResultsByTask(heard.append)
    known = results.zero({})
    for more in ({0: "a"}, {1: "b"}, {0: "a"}, {2: "c", 1: "b"}):
        known = results.addInPlace(known, more)
    assert known == {0: "a", 1: "b", 2: "c"}
    assert heard == ["a", "b", "c"]


def test_results_travel_to_executors_without_their_listener() -> None:
    copy = pickle.loads(pickle.dumps(ResultsByTask(lambda _: 1 / 0)))  # noqa: S301 - our own bytes
    assert copy.addInPlace({}, {1: "a"}) == {1: "a"}


def test_a_java_stack_becomes_a_line() -> None:
    error = engine_error(RuntimeError(JAVA))
    assert isinstance(error, EngineError)
    assert "ZeroDivisionError: division by zero" in error.found
    assert "DAGScheduler.scala" not in str(error)
    assert without_java("") == ""


def test_an_executor_without_the_distribution_is_named() -> None:
    error = engine_error(RuntimeError("ModuleNotFoundError: No module named 'tallywright'\n\tat java"))
    assert "no tallywright" in error.found
    assert engine_error(InputError("kept")).found == "kept"
