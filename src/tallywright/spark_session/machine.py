"""Checks what Spark needs on this machine: pyspark and Java."""

from __future__ import annotations

import os
import shutil
from importlib import util
from pathlib import Path

from tallywright.errors import UsageError


def require_spark() -> None:
    """Refuses to go on without pyspark or Java.

    Raises:
        UsageError: Says which one is missing and how to get it.
    """
    if util.find_spec("pyspark") is None:
        raise UsageError(
            "Spark is asked for, and pyspark is not installed",
            expected="the extra `spark`",
            remedy="pip install 'tallywright[spark]', or choose another engine in model.yaml",
        )
    if not under_spark_submit() and java() is None:
        raise UsageError(
            "Spark is asked for, and there is no Java",
            expected="Java 17 or newer on PATH or in JAVA_HOME",
            remedy="install it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless), or choose another engine",
        )


def under_spark_submit() -> bool:
    """True when spark-submit started this process: its JVM runs already, with settings and jars of its own."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def java() -> str | None:
    """The Java that Spark's own scripts would start."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
