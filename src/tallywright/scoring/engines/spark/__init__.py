"""The scoring engine on Apache Spark, with two ways of moving rows; `docs/spark.md` tells when to use which.

`io: direct` (`direct`): a task is a split, the Python workers read, score and write Parquet themselves, rows never
meet the JVM, and the driver makes the one commit as for every other engine. `io: engine` (`native`): Spark reads the
pinned version, hands batches to the workers, and its Delta writer commits.

Everything that executors import (`worker`, `shipping`, `packed`) needs the slim install and pyspark only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallywright.scoring.engines.spark.driver import SparkEngine
    from tallywright.spec.environment import EngineSettings


def engine(settings: EngineSettings) -> SparkEngine:
    """The engine, for the registry; the session starts with the first day."""
    from tallywright.scoring.engines.spark.driver import SparkEngine

    return SparkEngine(settings.spark)
