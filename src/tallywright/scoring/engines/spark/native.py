"""`io: engine` on the driver: Spark reads the pinned version, keeps the scored rows, and its writer commits them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.commit import LostRaceError
from tallywright.data.fingerprint import RowDigest
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, columns_of, partition_values
from tallywright.scoring.commit.manifests import MANIFEST_KEY
from tallywright.scoring.commit.verify import check_outputs, check_rows, verify_rows
from tallywright.scoring.engines.spark.failures import engine_error, ignore_lost_jvm, without_java
from tallywright.scoring.engines.spark.packed import SCHEMA, KeysTask, PackedCounts, unpacked
from tallywright.scoring.job import SCORES
from tallywright.scoring.worker.kernel import DaySums

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    import pyarrow as pa
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession

    from tallywright.data.fingerprint import Hashes
    from tallywright.records import CommittedFile, InputVersion, Manifest
    from tallywright.scoring.commit.sink import Writer
    from tallywright.scoring.engines.base import PinnedDay
    from tallywright.scoring.engines.spark.packed import PackTask
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.kernel import PieceCounts

_LOG_PARTITIONS: Final = "spark.databricks.delta.snapshotPartitions"
_MOST_LOG_PARTITIONS: Final = 50
CONFLICT: Final = "[DELTA_CONCURRENT_"
"""Begins the name of each of Delta's conflicts: append, delete, read, transaction, write."""


def day_session(session: SparkSession, job: ScoreJob) -> SparkSession:
    """A session of the day's own: settings of its own, executors and caches shared with the other days."""
    own: SparkSession = session.newSession()
    own.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(job.batch_rows))
    # The rows of a day have one partition: without this the writer sorts all of them by it first.
    own.conf.set("spark.sql.maxConcurrentOutputFileWriters", "1")
    own.conf.set("parquet.page.verify-checksum.enabled", "true")
    # Delta reads a table's log in 50 tasks, however short it is: that costs a small cluster seconds a commit.
    if own.conf.get(_LOG_PARTITIONS, None) is None:
        own.conf.set(_LOG_PARTITIONS, str(min(own.sparkContext.defaultParallelism, _MOST_LOG_PARTITIONS)))
    return own


def read_day(session: SparkSession, day: PinnedDay) -> DataFrame:
    """The rows of the day in the pinned version: key and model columns."""
    table = session.read.format("delta").option("versionAsOf", day.pinned.version).load(spark_address(day.table))
    return table.where(_condition(day.job.score_date)).select(*(f"`{name}`" for name in day.job.input_schema.names))


def _condition(period: date) -> str:
    """The SQL that selects a period; the session's zone is UTC."""
    kinds = {DATE_COLUMN: "DATE", HOUR_COLUMN: "TIMESTAMP"}
    return " AND ".join(f"{name} = {kinds[name]} '{value}'" for name, value in partition_values(period).items())


def spark_address(address: str) -> str:
    """The address with the scheme of Hadoop's file system (`s3a`)."""
    return address.replace("s3://", "s3a://", 1) if address.startswith("s3://") else address


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The scored rows of a day, cached by Spark."""

    session: SparkSession
    job: ScoreJob
    packed: DataFrame
    counted: tuple[PieceCounts, ...]

    @classmethod
    def of(cls, session: SparkSession, day: PinnedDay, task: PackTask) -> PackedRows:
        """Scores the day.

        Raises:
            TallyError: What a worker refused.
        """
        from pyspark import StorageLevel

        packed = read_day(session, day).mapInArrow(task, SCHEMA).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counted = packed.where("counts IS NOT NULL").select("counts", "hashes").collect()
            counts = [(PackedCounts.from_json(row["counts"]), row["hashes"] or b"") for row in counted]
            failure = next((one.failure for one, _ in counts if one.failure is not None), None)
            if failure is not None:
                raise failure.error()
        except BaseException:
            with ignore_lost_jvm():
                packed.unpersist()
            raise
        return cls(session, task.job, packed, tuple(one.with_hashes(hashes) for one, hashes in counts))

    def keys_with(self, hashes: Hashes) -> Iterator[pa.RecordBatch]:
        """The key columns of the rows whose key has one of these hashes."""
        schema = self.session.read.format("delta").load(spark_address(self.job.table)).select(*self.job.key).schema
        found = self._rows(SCORES).mapInArrow(KeysTask(self.job.key, hashes), schema)
        yield from found.toArrow().to_batches()

    def commit(self, manifest: Manifest, transaction: str) -> None:
        """Commits the scores with Delta's writer on Spark, which detects conflicts itself."""
        self._commit(self.job.table, [SCORES], manifest, transaction)

    def commit_shadows(self, manifest: Manifest, transaction: str, labels: Sequence[str]) -> None:
        """Commits the rows of these shadows in the same way."""
        self._commit(self.job.shadow_table, labels, manifest, transaction)

    def _commit(self, address: str, labels: Sequence[str], manifest: Manifest, transaction: str) -> None:
        # Importing this is what makes Delta's conflicts recognisable.
        from delta.exceptions import DeltaConcurrentModificationException as Conflict
        from delta.exceptions.captured import DeltaConcurrentModificationException  # noqa: F401
        from pyspark.sql.functions import lit

        table = spark_address(address)
        options: dict[str, Any] = {
            "replaceWhere": _condition(manifest.score_date),
            "txnAppId": transaction,
            "txnVersion": manifest.generation,
            MANIFEST_KEY: manifest.to_json(),
        }
        try:
            period = columns_of({DATE_COLUMN: manifest.score_date})
            columns = self.session.read.format("delta").load(table).drop(*period).schema
            rows = self._rows(*labels).mapInArrow(unpacked, columns)
            for name, value in period.items():
                rows = rows.withColumn(name, lit(value))
            rows.write.format("delta").mode("overwrite").options(**options).save(table)
        except Conflict as error:
            raise LostRaceError(without_java(str(error))) from error
        except Exception as error:
            if CONFLICT in str(error):  # as Spark itself reports it, when another part of the process caught it first
                raise LostRaceError(without_java(str(error))) from error
            raise engine_error(error) from error

    def release(self) -> None:
        """Removes the rows from Spark's cache."""
        with ignore_lost_jvm():
            self.packed.unpersist()

    def _rows(self, *labels: str) -> DataFrame:
        from pyspark.sql.functions import col

        return self.packed.where(col("label").isin(*labels)).select("rows")


def rows_writer(rows: PackedRows) -> Writer:
    """A writer that commits the rows with Delta's writer on Spark."""

    def write(table: DeltaTable, manifest: Manifest, transaction: str) -> None:
        del table  # the writer looks for itself
        rows.commit(manifest, transaction)

    return write


@dataclass(frozen=True)
class EngineRows:
    """Rows that the engine keeps and commits with its own writer; what is not committed ends with its block."""

    job: ScoreJob
    pinned: InputVersion
    rows: PackedRows

    @cached_property
    def sums(self) -> DaySums:
        """The counts of the day."""
        return DaySums.of(self.rows.counted)

    def check_cover(self) -> None:
        """Checks that as many rows were scored as were ingested."""
        check_rows(self.pinned, self.rows.counted)

    def verify(self) -> RowDigest:
        """As `verify_rows`."""
        return verify_rows(self.job, self.pinned, self.rows.counted, self.rows.keys_with)

    def verify_shadow(self, label: str) -> RowDigest:
        """Checks a shadow's outputs only: its rows come from the same batches as those of the scores table."""
        check_outputs(self.job, self.sums.shadow_problems.get(label, {}))
        return sum((piece.read for piece in self.rows.counted), start=RowDigest())

    def files(self, *labels: str) -> tuple[CommittedFile, ...]:
        """None: Spark's writer makes and names them."""
        del labels
        return ()

    def writer(self) -> Writer:
        """Spark's writer for the scores table."""
        return rows_writer(self.rows)

    def shadow_writer(self, labels: Sequence[str]) -> Writer:
        """Spark's writer for the rows of these shadows."""

        def write(table: DeltaTable, manifest: Manifest, transaction: str) -> None:
            del table  # the writer looks for itself
            self.rows.commit_shadows(manifest, transaction, labels)

        return write

    def discard(self, *labels: str) -> None:
        """Does nothing: no file was staged."""
