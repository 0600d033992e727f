"""The Spark of a test process: one session for all its tests, made and ended as a command makes and ends it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallywright.spark_session import spark_session

if TYPE_CHECKING:
    from pathlib import Path

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
