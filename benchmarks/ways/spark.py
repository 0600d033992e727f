"""On Spark: both ways of the engine, and what people write by hand."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks.ways.world import DAY, NUMERIC, TEXTS, World

from tallywright.scoring.engines.base import Engines
from tallywright.spark_session import spark_session
from tallywright.spec.environment import EngineSettings, SparkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

CONF: Final = {"spark.driver.memory": "3g", "spark.executor.memory": "2g", "spark.log.level": "ERROR"}
SLICE: Final = f"score_date = DATE '{DAY}'"


@contextmanager
def direct(world: World, master: str = "local[2]") -> Iterator[Callable[[], None]]:
    """Workers read, score and write; the driver commits."""
    with Engines(EngineSettings(spark=SparkSettings(master=master, conf=CONF))) as engines:
        yield lambda: world.score("spark", "direct", engines)


@contextmanager
def direct_on_cluster(world: World) -> Iterator[Callable[[], None]]:
    """The same on a master and two workers of one core each."""
    sparks = importlib.import_module("sparks")
    with (
        TemporaryDirectory() as work,
        sparks.standalone_cluster(Path(work), memory="3g") as address,
        direct(world, address) as once,
    ):
        yield once


@contextmanager
def engine(world: World) -> Iterator[Callable[[], None]]:
    """Spark reads, and Delta's writer commits."""
    with Engines(EngineSettings(spark=SparkSettings(master="local[2]", conf=CONF))) as engines:
        yield lambda: world.score("spark", "engine", engines)


@contextmanager
def map_in_arrow(world: World) -> Iterator[Callable[[], None]]:
    """Delta in, `mapInArrow` with the same graph, Delta out; keeps no provenance, no profile, checks nothing."""
    with _session() as spark:
        graph = spark.sparkContext.broadcast((world.package.read("model.onnx"), world.categories))

        def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            from benchmarks.ways.graph import Graph

            loaded = Graph(*graph.value)
            for batch in batches:
                yield loaded(batch)

        schema = "order_id string, prediction int, probability float"
        yield lambda: _write(world, _read(spark, world).mapInArrow(score, schema))


@contextmanager
def pyfunc_udf(world: World) -> Iterator[Callable[[], None]]:
    """The package as an MLflow model in `spark_udf`, in place of everything."""
    import mlflow.pyfunc
    from pyspark.sql.functions import struct

    with _session() as spark:
        model = mlflow.pyfunc.spark_udf(
            spark, str(world.package.folder), result_type="prediction int, probability float", env_manager="local"
        )

        def once() -> None:
            rows = _read(spark, world)
            scored = rows.select("order_id", model(struct(*NUMERIC, *TEXTS)).alias("scored"))
            _write(world, scored.select("order_id", "scored.prediction", "scored.probability"))

        yield once


@contextmanager
def _session() -> Iterator[SparkSession]:
    session = spark_session("benchmark", {"spark.master": "local[2]", **CONF}, delta=True)
    try:
        yield session
    finally:
        session.stop()


def _read(spark: SparkSession, world: World) -> DataFrame:
    table = spark.read.format("delta").load(world.lake.uri(world.pinned.table))
    return table.where(SLICE).select("order_id", *NUMERIC, *TEXTS)


def _write(world: World, rows: DataFrame) -> None:
    from pyspark.sql.functions import lit

    table = str(world.root / "lake" / "by_hand")
    dated: Any = rows.withColumn("score_date", lit(DAY))
    writer = dated.write.format("delta").mode("overwrite").partitionBy("score_date")
    writer.option("replaceWhere", SLICE).save(table)
