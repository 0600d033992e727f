"""Kills on a standalone Spark cluster of real processes: an executor, the driver, the master."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from sparks import Cluster, running_cluster
from twins import Twins

from .conftest import Driver, Start, Watch, gone
from .test_kill_matrix import before_and_after

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def driver_on(cluster: Cluster, start: Start, twins: Twins, io: str, **environment: str) -> Driver:
    way = ("--engine", "spark", "--io", io, "--part-rows", "600", "--master", cluster.address)
    return start("score", twins.killed, *way, **environment)


def workers_of(cluster: Cluster) -> list[psutil.Process]:
    """The executors, and their Python."""
    daemons = [process for name, process in cluster.processes.items() if name != "master"]
    return [child for daemon in daemons for child in psutil.Process(daemon.pid).children(recursive=True)]


def executor_of(worker: psutil.Process) -> psutil.Process:
    """The JVM that a Python worker works for."""
    return next(process for process in worker.parents() if process.name() == "java")


def finished(driver: Driver, twins: Twins, watch: Watch, old: str, new: str) -> None:
    """The run ended well in spite of all, with a table like that of its twin."""
    code, _, error = driver.end()
    assert code == 0, error
    assert twins.content(twins.killed) == new
    twins.check_equal()
    watch.saw(old, new)


@pytest.mark.long
def test_the_parts_of_a_killed_executor_are_made_again_by_another(
    cluster: Cluster, start: Start, twins: Twins, watch: Watch
) -> None:
    driver = driver_on(cluster, start, twins, "direct", **watch.marker.environment("scored", hold=True))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    files = len(twins.files())
    driver.ready().go()
    held = watch.marker.process()
    executor = executor_of(held)
    python = executor.children(recursive=True)
    executor.kill()
    held.resume()
    gone(python)
    finished(driver, twins, watch, old, new)
    # 3001 rows in row groups of 500 make 6 parts; the part that was lost with its worker is there as well.
    assert len(twins.files()) - files == 6 + 1


@pytest.mark.long
def test_rows_that_were_cached_by_killed_executors_are_scored_again(
    cluster: Cluster, start: Start, twins: Twins, watch: Watch
) -> None:
    driver = driver_on(cluster, start, twins, "engine", **watch.marker.environment("before-commit", hold=True))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    driver.ready().go()
    held = watch.marker.process()
    assert held.pid == driver.process.pid
    executors = [process for process in workers_of(cluster) if process.name() == "java"]
    assert executors
    for executor in executors:
        executor.kill()
    held.resume()
    finished(driver, twins, watch, old, new)


@pytest.mark.long
def test_nothing_outlives_a_killed_driver(cluster: Cluster, start: Start, twins: Twins, watch: Watch) -> None:
    driver = driver_on(cluster, start, twins, "direct", **watch.marker.environment("scored", hold=True))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    driver.ready().go()
    held = watch.marker.process()
    family = [*driver.family(), *workers_of(cluster)]
    assert held in family
    driver.process.kill()
    held.resume()
    gone(family)
    assert twins.content(twins.killed) == old
    twins.score(twins.killed)
    twins.check_equal()
    watch.saw(old, new)


@pytest.mark.long
def test_a_run_outlives_the_master_and_the_next_one_finds_its_successor(
    cluster: Cluster, start: Start, twins: Twins, watch: Watch
) -> None:
    driver = driver_on(cluster, start, twins, "direct", **watch.marker.environment("scored", hold=True))
    old, new = before_and_after(twins)
    watch.driver.ready().go()
    driver.ready().go()
    held = watch.marker.process()
    cluster.processes["master"].kill()
    cluster.processes["master"].wait()
    held.resume()
    finished(driver, twins, watch, old, new)
    cluster.start_master()
    cluster.wait_for("master", "Registering worker", times=4)
    twins.restate(2)
    twins.score(twins.calm)
    assert driver_on(cluster, start, twins, "direct").ready().go().end()[0] == 0
    twins.check_equal()
