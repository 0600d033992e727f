"""Without a cluster: the engine `local`, and the shortest program that reads, scores and writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import local as thread_local
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.ways.graph import Graph

from tallywright.scoring.engines.base import Engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ways.world import World


@contextmanager
def local(world: World) -> Iterator[Callable[[], None]]:
    """Tallywright's engine in this process."""
    with Engines() as engines:
        yield lambda: world.score("local", "direct", engines)


@contextmanager
def by_hand(world: World) -> Iterator[Callable[[], None]]:
    """Two threads over the row groups, into Parquet files; no Delta commit, no checks."""
    onnx, categories = world.package.read("model.onnx"), world.categories
    own = thread_local()
    output = world.root / "by_hand"
    output.mkdir(exist_ok=True)

    def score(piece: tuple[str, int]) -> None:
        path, group = piece
        if not hasattr(own, "graph"):
            own.graph = Graph(onnx, categories)
        names = ["order_id", *(f"x{i}" for i in range(12)), *(f"c{i}" for i in range(3))]
        with pq.ParquetFile(path, read_dictionary=["c0", "c1", "c2"]) as file:
            batches = file.iter_batches(65_536, row_groups=[group], columns=names, use_threads=False)
            rows = pa.Table.from_batches([own.graph(batch) for batch in batches])
        pq.write_table(rows, output / f"{path.rsplit('/', 1)[1]}-{group}.parquet")

    def once() -> None:
        pieces = [(path, group) for path in world.files() for group in range(pq.read_metadata(path).num_row_groups)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(score, pieces))

    yield once
