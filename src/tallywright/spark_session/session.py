"""Starts a SparkSession with common settings: UTC, ANSI SQL, little log, loopback for a local master."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tallywright.errors import StorageError, UsageError
from tallywright.spark_session.jars import delta_jars
from tallywright.spark_session.lifetime import session_runs
from tallywright.spark_session.machine import require_spark, under_spark_submit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import SparkSession

MASTER_VARIABLE: Final = "SPARK_MASTER"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_SETTINGS: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
_LOOPBACK: Final = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
_AT_LAUNCH: Final = (
    *("spark.archives", "spark.driver.", "spark.files", "spark.jars", "spark.kerberos.", "spark.kubernetes."),
    *("spark.master", "spark.pyspark.", "spark.submit.", "spark.yarn."),
)
"""What the JVM has to know when it starts, which stands on its command line. All else it is told afterwards, as command
lines can be read by every user of the machine, and properties may hold the keys of an object store."""
_DELTA: Final = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def spark_session(
    app_name: str, extra: Mapping[str, str] = _NOTHING, *, master: str = "", delta: bool = False
) -> SparkSession:
    """The process's SparkSession, started if there is none; its JVM ends with this process, or with `end_session`.

    The master is `extra["spark.master"]`, or what spark-submit was given, or `master`, or `$SPARK_MASTER`, or
    `local[*]`.

    Args:
        app_name: What Spark shows.
        extra: Further settings (the environment's `engine.spark.conf`); they win over those made here.
        master: The environment's `engine.spark.master`.
        delta: Also load Delta, from the jars that `stage_jars` fetched.

    Raises:
        UsageError: No pyspark, no Java, jars that are not staged, or a running session that has no Delta.
        StorageError: Spark does not start.
    """
    require_spark()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    running = session_runs()
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # would log each error before it is raised
    builder = SparkSession.builder.appName(app_name)
    try:
        settings = extra if running else _settings(extra, master, delta=delta)
        if not running:
            _start_jvm(settings)
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise _start_error(error) from error
    if delta and _DELTA["spark.sql.extensions"] not in str(session.conf.get("spark.sql.extensions", "")):
        raise UsageError(
            "this process has a Spark session already, and it has no Delta",
            expected="the first session of a process to be made with delta=True",
        )
    return session


def _settings(extra: Mapping[str, str], master: str = "", *, delta: bool) -> dict[str, str]:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    master = extra.get("spark.master") or _submitted_master() or master or os.environ.get(MASTER_VARIABLE) or "local[*]"
    settings = _SETTINGS | {"spark.master": master}
    if master.startswith(("local", "spark://127.0.0.1:", "spark://localhost:")):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        settings |= _LOOPBACK
    if master.startswith("local"):
        settings["spark.sql.shuffle.partitions"] = str(2 * (os.cpu_count() or 2))
        settings["spark.sql.warehouse.dir"] = _warehouse()
    if delta:
        settings |= _DELTA
    if not under_spark_submit():
        settings["spark.driver.extraJavaOptions"] = f'-Dlog4j2.configurationFile="{_log_settings()}"'
        if delta:
            settings["spark.jars"] = ",".join(map(str, delta_jars()))
    return settings | dict(extra)


def _start_jvm(settings: Mapping[str, str]) -> None:
    """Starts the JVM, or finds the one of spark-submit; Spark itself starts with the session."""
    from pyspark import SparkConf, SparkContext

    launch = SparkConf(loadDefaults=False)
    for name, value in settings.items():
        if name.startswith(_AT_LAUNCH):
            launch.set(name, value)
    SparkContext._ensure_initialized(conf=launch)  # noqa: SLF001 - the one way to start the JVM before its settings


def _submitted_master() -> str | None:
    if not under_spark_submit():
        return None
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # noqa: SLF001 - only so does SparkConf see what was submitted
    master: str | None = SparkConf().get("spark.master")
    return master


def _warehouse() -> str:
    """A folder of this process, so that Spark makes none where the command was called."""
    folder = tempfile.mkdtemp(prefix="tallywright-warehouse-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _log_settings() -> str:
    return (Path(__file__).parent / "log4j2.properties").as_uri()


def _start_error(error: Exception) -> StorageError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return StorageError(
        f"Spark does not start: {' '.join(lines[:2])[:500] or type(error).__name__}",
        expected="Java 17 or newer, and a Spark master that answers",
        remedy="run `tally doctor`; the lines above this one are Spark's own",
    )
