"""The Spark of a test process: one session for all its tests; and a small standalone cluster of real processes."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.spark_session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
    }
    session = spark_session("tests", settings | extra, delta=True)
    try:
        yield session
    finally:
        session.stop()
        # py4j speaks once more when it is collected, after pytest has closed the stream of the log.
        logging.getLogger("py4j").setLevel(logging.WARNING)


@contextmanager
def standalone_cluster(work: Path, *, workers: int = 2, memory: str = "1g") -> Iterator[str]:
    """A master and workers as processes of their own on loopback; gives the master's address, and stops them all."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        port = free_port()
        processes.append(_daemon(work / "master.log", "master.Master", "--port", str(port)))
        _wait_for(work / "master.log", "New state: ALIVE", processes)
        address = f"spark://127.0.0.1:{port}"
        for number in range(workers):
            place = ("--work-dir", str(work / f"worker-{number}"), "--cores", "1", "--memory", memory)
            processes.append(_daemon(work / f"worker-{number}.log", "worker.Worker", *place, "--port", "0", address))
        for number in range(workers):
            _wait_for(work / f"worker-{number}.log", "Successfully registered with master", processes)
        yield address
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _daemon(log: Path, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1"]
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--webui-port", "0", *arguments],
            env=environment,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_for(log: Path, text: str, processes: list[subprocess.Popen[bytes]], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while text not in log.read_text(errors="replace"):
        dead = [process.args for process in processes if process.poll() is not None]
        if dead or time.monotonic() > deadline:
            raise AssertionError(f"no {text!r} in {log}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
