"""Whether the process's session is alive, and ending it: with its JVM, as jars and memory are fixed when that starts.

pyspark keeps session, context and JVM in class attributes, and goes on handing them out after the JVM died: there is
no public way to ask for them or to let go of them.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tallywright.spark_session.machine import under_spark_submit

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

_SECONDS_TO_END: Final = 20.0
"""A JVM that was asked to end deletes its temporary files first."""


def session_runs() -> bool:
    """True when this process has a live session of another owner; the remains of a dead one are dropped."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context  # noqa: SLF001
    if context is None:
        return False
    if not _answers(context):
        _end(context)
    return SparkContext._active_spark_context is not None  # noqa: SLF001


def session_lives(session: SparkSession) -> bool:
    """False once its JVM is gone, or its context was stopped."""
    return _answers(session.sparkContext)


def end_session(session: SparkSession) -> None:
    """Stops the session and ends its JVM, unless that is spark-submit's; a dead one is only forgotten."""
    _end(session.sparkContext)


def _answers(context: SparkContext) -> bool:
    from py4j.protocol import Py4JError

    if not hasattr(context, "_jsc"):
        return True  # another thread is starting it
    try:
        return context._jsc is not None and not context._jsc.sc().isStopped()  # noqa: SLF001
    except (Py4JError, OSError):
        return False


def _end(context: Any) -> None:
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.sql import SparkSession, SQLContext

    if SparkContext._active_spark_context is not context:  # noqa: SLF001
        return  # it ended before, and pyspark's `stop` would let go of its successor
    if not _answers(context):
        context._jsc = None  # noqa: SLF001 - nobody is there to be told, and pyspark would warn or raise
    with suppress(Py4JError, OSError):
        context.stop()
    SparkContext._active_spark_context = None  # noqa: SLF001
    SparkSession._instantiatedSession = SparkSession._activeSession = None  # noqa: SLF001
    SQLContext._instantiatedContext = None  # noqa: SLF001
    if not under_spark_submit():
        _end_jvm()


def _end_jvm() -> None:
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway  # noqa: SLF001
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    if process is None:
        return
    if process.poll() is None:
        gateway.shutdown()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()  # the JVM lives for as long as this is open
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
