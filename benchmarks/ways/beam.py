"""On Beam: the engine on both of its runners for one machine, and jobs as people write them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from benchmarks.ways.graph import Graph
from benchmarks.ways.world import NUMERIC, TEXTS

from tallywright.scoring.engines.base import Engines
from tallywright.spec.environment import BeamSettings, EngineSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ways.world import World

SCORED: Final = [("order_id", pa.string()), ("prediction", pa.int32()), ("probability", pa.float32())]
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
    """Beam's Parquet reader and writer around the same graph; no commit, no checks, no profile, no provenance."""
    import apache_beam as beam
    from apache_beam.io.parquetio import WriteToParquetBatched

    output, schema = world.root / "beam_by_hand", pa.schema(SCORED)

    def once() -> None:
        with _pipeline() as pipeline:
            scored = pipeline | _read(world) | beam.ParDo(_scoring(world))
            scored | WriteToParquetBatched(str(output / "scores"), schema)

    yield once


@contextmanager
def by_hand_in_one(world: World) -> Iterator[Callable[[], None]]:
    """The same, but one function scores a batch and writes a file of its own: quicker, and a retry leaves two."""
    import apache_beam as beam

    def once() -> None:
        with _pipeline() as pipeline:
            pipeline | _read(world) | beam.ParDo(_scoring(world, world.root / "beam_by_hand"))

    yield once


def _pipeline() -> Any:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    options: Any = PipelineOptions(THREADS)
    return beam.Pipeline(runner=FnApiRunner(), options=options)


def _read(world: World) -> Any:
    from apache_beam.io.parquetio import ReadFromParquetBatched

    day = Path(world.files()[0]).parent
    return ReadFromParquetBatched(f"{day}/*.parquet", columns=["order_id", *NUMERIC, *TEXTS])


def _scoring(world: World, output: Path | None = None) -> Any:
    """A function that scores tables of what `_read` gives, and yields them or writes them into a folder."""
    import apache_beam as beam

    onnx, categories = world.package.read("model.onnx"), world.categories

    class Score(beam.DoFn):  # type: ignore[misc]
        def setup(self) -> None:
            self.graph = Graph(onnx, categories)

        def process(self, rows: pa.Table) -> Iterator[pa.Table]:
            import pyarrow.parquet as pq

            scored = pa.Table.from_batches([self.graph(batch) for batch in rows.to_batches(max_chunksize=2_048)])
            if output is None:
                yield scored
            else:
                pq.write_table(scored, output / f"{uuid.uuid4()}.parquet")

    if output is not None:
        output.mkdir(exist_ok=True)
    return Score()
