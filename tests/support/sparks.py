"""The Spark of a test process: one session for all its tests; and a small standalone cluster of real processes."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ports import free_port

from tallywright.spark_session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
BRIEF_JVM = {"JDK_JAVA_OPTIONS": _BRIEF}
"""A JVM that lives for seconds does not earn back what it compiles: half of its processor time is saved."""
QUIET_BRIEF_JVM = {"SPARK_SUBMIT_OPTS": _BRIEF}
"""The same for the driver's JVM alone, which then does not say so."""


@contextmanager
def small_session(work: Path, master: str = "local[2]", **extra: str) -> Iterator[SparkSession]:
    """A session with Delta and little of everything; it is stopped at the end."""
    settings = {
        "spark.master": master,
        "spark.driver.memory": "1g",
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.local.dir": str(work),
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.executor.extraJavaOptions": _BRIEF,
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUIET_BRIEF_JVM.items():
            patched.setenv(name, value)
        session = spark_session("tests", settings | extra, delta=True)
    try:
        yield session
    finally:
        session.stop()
        # py4j speaks once more when it is collected, after pytest has closed the stream of the log.
        logging.getLogger("py4j").setLevel(logging.WARNING)


_ALIVE = "New state: ALIVE"


@dataclass
class Cluster:
    """A master and workers as processes of their own on loopback."""

    work: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The master's."""
        return f"spark://127.0.0.1:{self.port}"

    def start_master(self) -> None:
        """The first one, or one in the place of one that died; the workers come back to it by themselves."""
        log = self.work / "master.log"
        before = log.read_text(errors="replace").count(_ALIVE) if log.exists() else 0
        self._start("master", "master.Master", "--port", str(self.port))
        self.wait_for("master", _ALIVE, before + 1)

    def start_worker(self, number: int, memory: str) -> None:
        place = ("--work-dir", str(self.work / f"worker-{number}"), "--cores", "1", "--memory", memory)
        self._start(f"worker-{number}", "worker.Worker", *place, "--port", "0", self.address)

    def wait_for(self, name: str, text: str, times: int = 1, seconds: float = 300) -> None:
        """Waits until a process has logged a text so often."""
        _wait_for(self.work / f"{name}.log", text, list(self.processes.values()), times, seconds)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=30)

    def _start(self, name: str, kind: str, *arguments: str) -> None:
        self.processes[name] = _daemon(self.work / f"{name}.log", kind, *arguments)


@contextmanager
def running_cluster(work: Path, *, workers: int = 2, memory: str = "1g") -> Iterator[Cluster]:
    """A cluster that is stopped at the end."""
    cluster = Cluster(work, free_port())
    try:
        cluster.start_master()
        for number in range(workers):
            cluster.start_worker(number, memory)
        for number in range(workers):
            cluster.wait_for(f"worker-{number}", "Successfully registered with master")
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def standalone_cluster(work: Path, *, workers: int = 2, memory: str = "1g") -> Iterator[str]:
    """The address of a running cluster's master."""
    with running_cluster(work, workers=workers, memory=memory) as cluster:
        yield cluster.address


def _daemon(log: Path, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1"]
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        **BRIEF_JVM,
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, "--webui-port", "0", *arguments],
            env=environment,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_for(log: Path, text: str, processes: list[subprocess.Popen[bytes]], times: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while log.read_text(errors="replace").count(text) < times:
        dead = [process.args for process in processes if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            raise AssertionError(f"no {text!r} in {log}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
