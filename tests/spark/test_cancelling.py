"""A cancelled job is over only when nobody writes any more."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import psutil
import pytest
from py4j.protocol import Py4JJavaError

from tallywright.scoring.engines.spark.driver import TaggedJobs, cancellable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pyspark import SparkContext

Told = TypeVar("Told")
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]


def busy(folder: Path, numbers: Iterator[int]) -> Iterator[int]:
    """Says who works here, and works on for longer than anybody waits."""
    for number in numbers:
        (folder / str(number)).write_text(f"{os.getpid()}\n")
        time.sleep(120)
        yield number


def told(folder: Path) -> list[int]:
    return [int(text) for file in folder.iterdir() if (text := file.read_text()).endswith("\n")]


def cancelled(work: TaggedJobs, folder: Path) -> list[int]:
    """Cancels as soon as both tasks work; gives those who outlive the wait for their end."""
    while len(told(folder)) < 2:
        time.sleep(0.01)
    work.cancel()
    work.wait()
    return [pid for pid in told(folder) if psutil.pid_exists(pid)]


def waited(work: TaggedJobs, folder: Path) -> float:
    """Waits for the job's end as soon as Spark knows it; cancels it then. Gives the seconds of that wait."""
    while not work._context._jsc.sc().statusTracker().getJobIdsForTag(work._tag):
        time.sleep(0.001)
    began = time.monotonic()
    work.wait(0.5)
    seconds = time.monotonic() - began
    cancelled(work, folder)
    return seconds


def beside_a_job(context: SparkContext, folder: Path, act: Callable[[TaggedJobs, Path], Told]) -> Told:
    """What a thread that cancels a job says in the end; the job's own thread is told of the cancellation."""
    with ThreadPoolExecutor(1) as other, cancellable(context, "busy") as work:
        found = other.submit(act, work, folder)
        with pytest.raises(Py4JJavaError, match="cancel"):
            context.parallelize(range(2), 2).mapPartitions(partial(busy, folder)).collect()
        return found.result()


def test_nobody_works_after_the_wait_even_if_the_tasks_had_just_begun(spark, tmp_path) -> None:
    assert beside_a_job(spark.sparkContext, tmp_path, cancelled) == []


def test_a_job_whose_tasks_are_not_counted_yet_is_waited_for(spark, tmp_path) -> None:
    assert beside_a_job(spark.sparkContext, tmp_path, waited) >= 0.5
