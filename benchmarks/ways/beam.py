"""On Beam: the engine on both of its runners for one machine, and a job as people write it."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from benchmarks.ways.graph import Graph
from benchmarks.ways.world import NUMERIC, TEXTS

from tallywright.scoring.engine import Engines
from tallywright.spec.environment import BeamSettings, EngineSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from benchmarks.ways.world import World

THREADS: Final = ["--direct_num_workers=2", "--direct_running_mode=in_memory"]


@contextmanager
def fn_api(world: World, runner: str = "FnApiRunner") -> Iterator[Callable[[], None]]:
    """The runner of this process, with a thread a core."""
    with Engines(EngineSettings(beam=BeamSettings(runner=runner))) as engines:
        yield lambda: world.score("beam", "direct", engines)


@contextmanager
def prism(world: World) -> Iterator[Callable[[], None]]:
    """Prism and a worker process a core."""
    with fn_api(world, "PrismRunner") as once:
        yield once


@contextmanager
def by_hand(world: World) -> Iterator[Callable[[], None]]:
    """Arrow batches in, the same graph, Parquet files out; no commit, no checks, no profile, no provenance."""
    import apache_beam as beam
    from apache_beam.io.parquetio import ReadFromParquetBatched
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    onnx, categories, output = world.package.read("model.onnx"), world.categories, world.root / "beam_by_hand"
    output.mkdir(exist_ok=True)

    class Score(beam.DoFn):  # type: ignore[misc]
        def setup(self) -> None:
            self.graph = Graph(onnx, categories)

        def process(self, rows: pa.Table) -> None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            scored = pa.Table.from_batches([self.graph(batch) for batch in rows.to_batches(max_chunksize=2_048)])
            pq.write_table(scored, output / f"{uuid.uuid4()}.parquet")

    def once() -> None:
        options: Any = PipelineOptions(THREADS)
        with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            for index, file in enumerate(world.files()):
                read = ReadFromParquetBatched(file, columns=["order_id", *NUMERIC, *TEXTS])
                pipeline | f"read {index}" >> read | f"score {index}" >> beam.ParDo(Score())

    yield once
