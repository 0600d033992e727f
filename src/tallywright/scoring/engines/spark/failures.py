"""A failure of Spark in one line and with a remedy, instead of a page of Java."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tallywright.errors import EngineError, TallyError
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST: Final = 400
_STOPPED: Final = "stopped SparkContext"
_PYTHON_ERROR: Final = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit)\b.*", re.MULTILINE)


def engine_error(error: Exception) -> TallyError:
    """The error to raise for an exception of Spark's; a TallyError stays what it is."""
    if isinstance(error, TallyError):
        return error
    if jvm_is_gone(error):
        return EngineError(
            "the JVM of Spark's driver died",
            expected="a JVM that lives until the day is scored",
            remedy="look for the kernel's out-of-memory killer; lower spark.driver.memory or give the machine more, "
            "and run it again",
        )
    text = without_java(str(error))
    if "No module named 'tallywright" in str(error):
        return EngineError(
            "an executor's Python has no tallywright",
            expected="the slim install on every executor",
            remedy="install tallywright there, or name its Python with PYSPARK_PYTHON (spark.pyspark.python)",
        )
    return EngineError(
        f"Spark gave up: {text or type(error).__name__}",
        expected="executors that stay until the day is scored",
        remedy="look into the executors' logs; the table is unchanged, run it again",
    )


def jvm_is_gone(error: Exception) -> bool:
    """True for what py4j raises when the JVM does not answer."""
    from py4j.protocol import Py4JNetworkError

    return isinstance(error, Py4JNetworkError | ConnectionError)


def comes_from_spark(error: Exception) -> bool:
    """True for what pyspark and py4j raise."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return isinstance(error, Py4JError | PySparkException) or jvm_is_gone(error)


@contextmanager
def ignore_lost_jvm() -> Iterator[None]:
    """Ignores errors of a lost JVM or context in a block that only cleans up: what ended it is the error to show."""
    try:
        yield
    except Exception as error:
        if not jvm_is_gone(error) and _STOPPED not in str(error):
            raise
        log.debug("the JVM or its context is gone: %s", error)


def without_java(text: str) -> str:
    """The first line, and the last line of a Python traceback if there is one; no stack of either language."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    python = [found for found in _PYTHON_ERROR.findall(text) if not found.startswith(("org.apache", "java."))]
    return (f"{first} … {python[-1].strip()}" if python and python[-1].strip() not in first else first)[:_LONGEST]
