"""Engines side by side on the same day, warm: the session is started, the model loaded, one run done before.

    python benchmarks/engines.py [--rows 5000000] [--repeat 3] [--only TEXT …] [--json]

Each way runs in a process of its own, one after the other; `WAYS` in `benchmarks/ways` lists them. A way that fails is
shown with its error beside the results of the others, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks.ways import WAYS  # noqa: E402 - the path had to be set


def child(way: str, root: Path, repeat: int) -> None:
    """Prints the seconds of each repetition, the warm-up first."""
    from benchmarks.ways.world import World

    module, function = WAYS[way].split(":")
    prepare: Any = getattr(importlib.import_module(f"benchmarks.ways.{module}"), function)
    began = time.perf_counter()
    with prepare(World(root)) as once:
        seconds = []
        for _ in range(repeat + 1):
            once()
            now = time.perf_counter()
            seconds.append(round(now - began, 2))
            began = now
        print(json.dumps(seconds))


class ChildError(Exception):
    """The last words of a child that failed."""


def run(arguments: list[str]) -> str:
    """This program again, in a process that finds the ways and the tests' synthetic project (and so do its workers)."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
    )
    if done.returncode:
        raise ChildError(done.stderr.strip()[-4000:] or f"exit code {done.returncode}")
    return done.stdout


def measure(way: str, root: Path, repeat: int) -> dict[str, Any]:
    """The best of the repetitions, and the cold start before them; or the error."""
    try:
        said = run(["--child", way, "--root", str(root), "--repeat", str(repeat)])
    except ChildError as error:
        print(f"{way}: failed\n{error}", file=sys.stderr, flush=True)
        return {"way": way, "error": str(error)}
    cold, *warm = json.loads(said.splitlines()[-1])
    print(f"{way}: first {cold} s, then {', '.join(map(str, warm))} s", file=sys.stderr, flush=True)
    return {"way": way, "cold_seconds": cold, "warm_seconds": min(warm), "all": warm}


def show(results: list[dict[str, Any]], rows: int) -> None:
    """A table, and how many times as long each way takes as the quickest; the ways that failed say why."""
    best = min((result["warm_seconds"] for result in results if "error" not in result), default=0.0)
    print(f"{rows:,} rows\n{'way':<48}{'cold s':>8}{'warm s':>8}{'rows/s':>12}{'x':>7}")
    for result in results:
        print(f"{result['way']:<48}{_figures(result, rows, best)}")


def _figures(result: dict[str, Any], rows: int, best: float) -> str:
    if "error" in result:
        # A traceback ends with what was raised; what Tallywright raises goes on for two indented lines.
        lines = [line for line in result["error"].splitlines() if line and not line[0].isspace()]
        return f"  failed: {lines[-1] if lines else result['error']}"[:200]
    warm = result["warm_seconds"]
    return f"{result['cold_seconds']:>8.1f}{warm:>8.2f}{rows / warm:>12,.0f}{warm / best:>7.2f}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""], help="ways whose name has one of these texts")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--world", type=Path, help="a folder to keep the day in between calls")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.root, options.repeat)
    elif options.make:
        from benchmarks.ways.world import make_world

        make_world(options.root, options.rows)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Every chosen way on one day."""
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as scratch:
        root = (options.world or Path(scratch)) / str(options.rows)
        if not (root / "package").is_dir():
            root.mkdir(parents=True, exist_ok=True)
            try:
                run(["--make", "--rows", str(options.rows), "--root", str(root)])
            except ChildError as error:
                sys.exit(str(error))
        chosen = [way for way in WAYS if any(text in way for text in options.only)]
        results = [measure(way, root, options.repeat) for way in chosen]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results, options.rows)
    if any("error" in result for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
