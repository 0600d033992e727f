"""The Beam engine on both of its local runners beside a Beam job as people write it, on the same day, warm.

    python benchmarks/beam_ways.py [--rows 5000000] [--repeat 3] [--only TEXT …]

`WAYS` names functions that take a prepared folder (`score_day.make_world`) and yield what scores its day once. Each
runs in a process of its own; one run before those that are timed starts everything. The last figure is what one more
day costs when a range of days of 1,000 rows shares the runner.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from score_day import CATEGORICAL, NUMERIC, SMALL, make_world, synthetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

IN_PROCESS: Final = ["--direct_num_workers=2", "--direct_running_mode=in_memory"]


@contextmanager
def _engine(root: Path, name: str, runner: str = "FnApiRunner") -> Iterator[Callable[[], object]]:
    """The whole protocol: score, verify, commit, profile."""
    from tallywright.data.lake import Lake
    from tallywright.records import InputVersion
    from tallywright.scoring.engine import Engines
    from tallywright.scoring.tally import score_day
    from tallywright.spec.environment import BeamSettings, EngineSettings

    world = synthetic()
    pinned = InputVersion.from_json((root / "input.json").read_text())
    spec, package = world.make_spec(NUMERIC, CATEGORICAL), world.make_package(root / "package")
    with Engines(EngineSettings(beam=BeamSettings(runner=runner))) as engines:
        request = world.make_request(
            Lake(str(root / "lake")), spec, pinned, package, engine=name, engines=engines, force=True
        )
        yield lambda: score_day(request)


def fn_api(root: Path) -> Any:
    """The engine on FnApiRunner, in its own process."""
    return _engine(root, "beam")


def prism(root: Path) -> Any:
    """The engine on Prism with a worker process a core."""
    return _engine(root, "beam", "PrismRunner")


def local(root: Path) -> Any:
    """The engine without Beam."""
    return _engine(root, "local")


@contextmanager
def by_hand(root: Path) -> Iterator[Callable[[], object]]:
    """Arrow batches in, ONNX Runtime, Parquet files out: no commit, no checks, no profile, no provenance."""
    import apache_beam as beam
    from apache_beam.io.parquetio import ReadFromParquetBatched
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from deltalake import DeltaTable

    files = DeltaTable(root / "lake" / "shop__features").file_uris()
    numbers, texts = synthetic().columns_of(NUMERIC, CATEGORICAL)
    score = _by_hand_dofn(beam, root)
    (root / "by_hand").mkdir(exist_ok=True)

    def once() -> None:
        with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(IN_PROCESS)) as pipeline:
            for index, file in enumerate(files):
                read = ReadFromParquetBatched(file, columns=["order_id", *numbers, *texts])
                rows = pipeline | f"read {index}" >> read
                rows | f"share out {index}" >> beam.Reshuffle() | f"score {index}" >> beam.ParDo(score)

    yield once


def _by_hand_dofn(beam: Any, root: Path) -> Any:
    from tallywright.packaging.package import load_package

    onnx, colors = load_package(root / "package").read("model.onnx"), list(synthetic().COLORS)
    numbers, texts = synthetic().columns_of(NUMERIC, CATEGORICAL)
    output = root / "by_hand"

    class Score(beam.DoFn):  # type: ignore[misc]
        def setup(self) -> None:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = ort.InferenceSession(onnx, options)

        def process(self, rows: pa.Table) -> None:
            import numpy as np
            import pyarrow as pa
            import pyarrow.compute as pc
            import pyarrow.parquet as pq

            numeric = np.stack([rows[name].to_numpy() for name in numbers], axis=1).astype(np.float32)
            values = pa.array(colors)
            codes = [pc.index_in(rows[name], value_set=values).to_numpy() for name in texts]
            categorical = np.stack(codes, axis=1).astype(np.int64) + 2
            step = 2_048
            starts = range(0, rows.num_rows, step)
            scores = np.concatenate(
                [self.session.run(None, self._inputs(numeric, categorical, slice(at, at + step)))[0] for at in starts]
            )
            scored = pa.table({"order_id": rows["order_id"], "probability": pa.array(scores)})
            pq.write_table(scored, output / f"{uuid.uuid4()}.parquet")

        @staticmethod
        def _inputs(numeric: Any, categorical: Any, part: slice) -> dict[str, Any]:
            return {"numeric": numeric[part], "categorical": categorical[part]}

    return Score()


WAYS: Final = {
    "tallywright local": local,
    "tallywright beam, FnApiRunner": fn_api,
    "tallywright beam, Prism": prism,
    "hand-written Beam job, Arrow batches": by_hand,
}


def child(way: str, root: Path, repeat: int) -> None:
    """Prints the seconds of each run, the first one cold."""
    with WAYS[way](root) as once:
        seconds = []
        for _ in range(repeat + 1):
            began = time.perf_counter()
            once()
            seconds.append(round(time.perf_counter() - began, 2))
    print(json.dumps(seconds))


def measure(way: str, root: Path, repeat: int) -> list[float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--child", way, "--root", str(root), "--repeat", str(repeat)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""], help="ways whose name has one of these texts")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.root, options.repeat)
        return
    chosen = [way for way in WAYS if any(text in way for text in options.only)]
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as folder:
        for rows in (options.rows, SMALL):
            root = Path(folder, str(rows))
            root.mkdir()
            make_world(root, rows)
            print(f"{rows:,} rows\n{'way':<40}{'cold s':>8}{'warm s':>8}   all")
            for way in chosen:
                cold, *warm = measure(way, root, options.repeat)
                print(f"{way:<40}{cold:>8.2f}{min(warm):>8.2f}   {warm}", flush=True)


if __name__ == "__main__":
    main()
