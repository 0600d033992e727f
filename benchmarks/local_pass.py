"""The local engine against the program somebody writes by hand, in turns in one process, and where its time goes.

    python benchmarks/local_pass.py [--rows 5000000] [--pairs 9] [--world FOLDER] [--shares]

A machine that is busy with other things slows both of a pair down: the ratio of a pair holds where seconds do not. The
processor time of both is shown beside it. `--shares` times the blocks of the pass by the processor time of its threads.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)
sys.path.append(str(ROOT / "tests" / "support"))

from benchmarks.ways.plain import by_hand, local  # noqa: E402 - the path had to be set
from benchmarks.ways.world import World, make_world  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCKS: Final = {
    "scoring.worker.kernel:score_split": "the rest of a worker's loop",
    "scoring.worker.kernel:read_fragment": "reading",
    "scoring.worker.kernel:_PartFile._flush": "writing",
    "scoring.worker.kernel:_PartFile.close": "writing",
    "scoring.worker.kernel:_manifest": "footer and statistics",
    "packaging.preprocess:Preprocess.transform": "conversion to the model's input",
    "packaging.predictor:Predictor.score": "copies into runs of the graph",
    "packaging.predictor:Predictor._run": "ONNX Runtime",
    "packaging.predictor:outputs_of": "outputs",
    "scoring.worker.scorer:problems_in": "output gate",
    "scoring.worker.scorer:digest": "hashes of the keys, as read",
    "profiles.accumulate:Accumulator.update": "profile",
    "scoring.commit.verify:_key_batches": "reading the keys back",
    "scoring.commit.verify:_hashes_of": "hashes of the keys, as written",
    "scoring.commit.verify:digest_hashes": "digest of the keys, as written",
    "scoring.commit.verify:repeated": "search for equal keys",
}
"""Module and function (below `tallywright`) to the block it belongs to; a block within a block counts for itself."""


class Blocks:
    """Processor seconds of each thread, by block: of two that are nested, the inner one gets the time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._own = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """Times what runs inside."""
        stack: list[float] = self._own.__dict__.setdefault("stack", [])
        stack.append(0.0)
        began = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - began
            with self._lock:
                self.seconds[name] += spent - stack.pop()
            if stack:
                stack[-1] += spent

    def watch(self, address: str, name: str) -> None:
        """Puts a function (or a method, or a generator's steps) under the clock."""
        module, _, path = address.partition(":")
        owner: Any = importlib.import_module(f"tallywright.{module}")
        *parents, function = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, function, self._timed(getattr(owner, function), name))

    def _timed(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.block(name):
                result = call(*arguments, **named)
            return self._steps(result, name) if hasattr(result, "__next__") else result

        return timed

    def _steps(self, items: Iterator[Any], name: str) -> Iterator[Any]:
        end = object()
        while True:
            with self.block(name):
                item = next(items, end)
            if item is end:
                return
            yield item


def timed(once: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock and of the processor (of all threads)."""
    wall, cpu = time.perf_counter(), time.process_time()
    once()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(world: World, pairs: int) -> None:
    """Both in turns, after one run of each."""
    with local(world) as ours, by_hand(world) as theirs:
        for once in (ours, theirs):
            once()  # the first run of each is not measured
        measured = [(timed(ours), timed(theirs)) for _ in range(pairs)]
    for place, what in enumerate(("clock", "processor")):
        mine, hand = ([pair[side][place] for pair in measured] for side in (0, 1))
        ratios = sorted(a / b for a, b in zip(mine, hand, strict=True))
        print(
            f"{what:<10}tallywright {statistics.median(mine):.2f} s, by hand {statistics.median(hand):.2f} s; "
            f"ratio {statistics.median(ratios):.3f} (of {pairs} pairs, {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def shares(world: World, runs: int) -> None:
    """The blocks of some runs, largest first."""
    blocks = Blocks()
    with local(world) as ours:
        ours()
        for address, name in BLOCKS.items():
            blocks.watch(address, name)
        spent = sum(timed(ours)[1] for _ in range(runs))
    blocks.seconds["plan, commit and the rest"] = spent - sum(blocks.seconds.values())
    for name, seconds in sorted(blocks.seconds.items(), key=lambda block: -block[1]):
        print(f"{name:<36}{seconds / runs:>8.3f} s{100 * seconds / spent:>7.1f} %")
    print(f"{'the pass':<36}{spent / runs:>8.3f} s")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--pairs", type=int, default=9, help="pairs to compare, or runs of which to take the shares")
    parser.add_argument("--world", type=Path, help="a folder to keep the day in between calls")
    parser.add_argument("--shares", action="store_true", help="where the pass spends its processor time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as scratch:
        root = (options.world or Path(scratch)) / str(options.rows)
        if not (root / "package").is_dir():
            root.mkdir(parents=True, exist_ok=True)
            make_world(root, options.rows)
        (shares if options.shares else compare)(World(root), options.pairs)


if __name__ == "__main__":
    main()
