"""`io: engine` on the driver: Spark reads the pinned version, keeps the scored rows, and its writer commits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.scoring.engine import LostRaceError
from tallywright.scoring.score_job import SCORES
from tallywright.scoring.scores_table import PARTITION
from tallywright.scoring.spark.failures import engine_error, tidying_up, without_java
from tallywright.scoring.spark.packed import SCHEMA, Counts, KeysTask, unpacked
from tallywright.scoring.tallies import MANIFEST_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from tallywright.records import Manifest
    from tallywright.scoring.engine import Source
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.scoring.spark.packed import PackTask
    from tallywright.scoring.verify import Counted, Hashes

_LOG_PARTITIONS: Final = "spark.databricks.delta.snapshotPartitions"
_MOST_LOG_PARTITIONS: Final = 50
CONFLICT: Final = "[DELTA_CONCURRENT_"
"""Begins the name of each of Delta's conflicts: append, delete, read, transaction, write."""


def day_session(session: SparkSession, job: ScoreJob) -> SparkSession:
    """A session of the day's own: its settings are nobody else's, its executors and caches are everybody's."""
    own: SparkSession = session.newSession()
    own.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(job.batch_rows))
    # The rows of a day have one partition: without this the writer sorts all of them by it first.
    own.conf.set("spark.sql.maxConcurrentOutputFileWriters", "1")
    # Delta reads a table's log in 50 tasks, however short it is: that costs a small cluster seconds a commit.
    if own.conf.get(_LOG_PARTITIONS, None) is None:
        own.conf.set(_LOG_PARTITIONS, str(min(own.sparkContext.defaultParallelism, _MOST_LOG_PARTITIONS)))
    return own


def read_day(session: SparkSession, job: ScoreJob, source: Source) -> DataFrame:
    """The rows of the day in the pinned version: key and model columns."""
    table = session.read.format("delta").option("versionAsOf", source.version).load(spark_address(source.table))
    return table.where(f"{PARTITION} = DATE '{job.score_date}'").select(
        *(f"`{name}`" for name in job.input_schema.names)
    )


def spark_address(address: str) -> str:
    """The address as Hadoop's file systems call it."""
    return address.replace("s3://", "s3a://", 1) if address.startswith("s3://") else address


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The scored rows of a day, cached by Spark; see `StagedRows`."""

    session: SparkSession
    job: ScoreJob
    packed: DataFrame
    counted: tuple[Counted, ...]

    @classmethod
    def of(cls, session: SparkSession, source: Source, task: PackTask) -> PackedRows:
        """Scores the day.

        Raises:
            TallyError: What a worker refused.
        """
        from pyspark import StorageLevel

        packed = read_day(session, task.job, source).mapInArrow(task, SCHEMA).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            told = packed.where("counts IS NOT NULL").select("counts", "hashes").collect()
            counts = [(Counts.from_json(row["counts"]), row["hashes"] or b"") for row in told]
            failure = next((one.failure for one, _ in counts if one.failure is not None), None)
            if failure is not None:
                raise failure.error()
        except BaseException:
            with tidying_up():
                packed.unpersist()
            raise
        return cls(session, task.job, packed, tuple(one.with_hashes(hashes) for one, hashes in counts))

    def keys_with(self, hashes: Hashes) -> Iterator[pa.RecordBatch]:
        """The key columns of the rows whose key has one of these hashes."""
        schema = self.session.read.format("delta").load(spark_address(self.job.table)).select(*self.job.key).schema
        found = self._rows(SCORES).mapInArrow(KeysTask(self.job.key, hashes), schema)
        yield from found.toArrow().to_batches()

    def commit(self, manifest: Manifest, transaction: str) -> None:
        """Commits by Delta's own writer, which looks for conflicts itself."""
        self._commit(self.job.table, [SCORES], manifest, transaction)

    def commit_shadows(self, manifest: Manifest, transaction: str, labels: Sequence[str]) -> None:
        """The same for the table of shadows."""
        self._commit(self.job.shadow_table, labels, manifest, transaction)

    def _commit(self, address: str, labels: Sequence[str], manifest: Manifest, transaction: str) -> None:
        # Importing this is what makes Delta's conflicts recognisable.
        from delta.exceptions import DeltaConcurrentModificationException as Conflict
        from delta.exceptions.captured import DeltaConcurrentModificationException  # noqa: F401
        from pyspark.sql.functions import lit

        table = spark_address(address)
        options: dict[str, Any] = {
            "replaceWhere": f"{PARTITION} = DATE '{manifest.score_date}'",
            "txnAppId": transaction,
            "txnVersion": manifest.generation,
            MANIFEST_KEY: manifest.to_json(),
        }
        try:
            columns = self.session.read.format("delta").load(table).drop(PARTITION).schema
            rows = self._rows(*labels).mapInArrow(unpacked, columns).withColumn(PARTITION, lit(manifest.score_date))
            rows.write.format("delta").mode("overwrite").options(**options).save(table)
        except Conflict as error:
            raise LostRaceError(without_java(str(error))) from error
        except Exception as error:
            if CONFLICT in str(error):  # as Spark itself reports it, when another part of the process caught it first
                raise LostRaceError(without_java(str(error))) from error
            raise engine_error(error) from error

    def release(self) -> None:
        """Gives the memory back."""
        with tidying_up():
            self.packed.unpersist()

    def _rows(self, *labels: str) -> DataFrame:
        from pyspark.sql.functions import col

        return self.packed.where(col("label").isin(*labels)).select("rows")
