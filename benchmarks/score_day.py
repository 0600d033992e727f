"""How long a day takes and how much memory: 5,000,000 rows and 1,000 rows, each as a whole fresh process.

Beside them, in the same run, what people do without a framework: pandas, `mlflow.pyfunc`, overwrite the partition.

    python benchmarks/score_day.py [--rows 5000000] [--repeat 3] [--json]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

DAY: Final = date(2024, 3, 1)
NUMERIC: Final = 12
CATEGORICAL: Final = 3
SMALL: Final = 1_000


def synthetic() -> Any:
    """The synthetic model project of the tests."""
    return importlib.import_module("synthetic")


def make_world(root: Path, rows: int) -> None:
    """Writes the package and the feature table of one day, through the lake as ingest does."""
    import numpy as np
    import pyarrow as pa

    from tallywright.data.delta.lake import Lake

    world = synthetic()
    random = np.random.default_rng(1)
    numbers, texts = world.columns_of(NUMERIC, CATEGORICAL)
    columns: dict[str, Any] = {"order_id": pa.array(np.arange(rows)).cast(pa.string())}
    for name in numbers:
        columns[name] = pa.array(random.normal(size=rows))
    for name in texts:
        codes = pa.array(random.integers(0, len(world.COLORS), size=rows, dtype=np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(world.COLORS)).cast(pa.string())
    world.make_package(root / "package", numeric=NUMERIC, categorical=CATEGORICAL)
    spec = world.make_spec(NUMERIC, CATEGORICAL)
    pinned = world.put_day(Lake(str(root / "lake")), spec, pa.table(columns), day=DAY)
    (root / "input.json").write_text(pinned.to_json())


def tallywright(root: Path) -> None:
    """Scores the day with the engine `local`, the whole protocol included."""
    from tallywright.data.delta.lake import Lake
    from tallywright.records import InputVersion
    from tallywright.scoring.day import score_day

    world = synthetic()
    pinned = InputVersion.from_json((root / "input.json").read_text())
    package = world.make_package(root / "package")
    spec = world.make_spec(NUMERIC, CATEGORICAL)
    request = world.make_request(Lake(str(root / "lake")), spec, pinned, package, force=True)
    score_day(request)


def pandas_pyfunc(root: Path) -> None:
    """The plain script: read, predict, overwrite the partition; no checks, no profile, no manifest."""
    import mlflow.pyfunc
    import pandas as pd
    import pyarrow.parquet as pq
    from deltalake import DeltaTable, write_deltalake

    files = DeltaTable(root / "lake" / "shop__features").file_uris()
    frame = pd.concat([pq.ParquetFile(file).read().to_pandas() for file in files])
    model = mlflow.pyfunc.load_model(str(root / "package"))
    scores = model.predict(frame[[name for name in frame.columns if name[0] in "xc"]])
    scores.insert(0, "order_id", frame["order_id"].to_numpy())
    scores["score_date"] = DAY
    write_deltalake(
        str(root / "lake" / "plain_scores"),
        scores,
        mode="overwrite",
        predicate=f"score_date = '{DAY}'" if (root / "lake" / "plain_scores").exists() else None,
        partition_by=["score_date"],
    )


WAYS: Final = {"tallywright local": tallywright, "pandas + mlflow.pyfunc": pandas_pyfunc}


def child(way: str, root: Path) -> None:
    """One measured process: prints the seconds of the work itself, CPU time and the peak of its memory."""
    began = time.perf_counter()
    WAYS[way](root)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"work_seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(peak)}))


def measure(way: str, root: Path, rows: int) -> dict[str, Any]:
    """Runs one way in a fresh interpreter and times the whole process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child", way, "--root", str(root)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
    )
    whole = round(time.perf_counter() - began, 2)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"way": way, "rows": rows, "process_seconds": whole} | told


def best_of(way: str, root: Path, rows: int, repeat: int) -> dict[str, Any]:
    """The quickest of some runs, with the highest peak of memory among them."""
    runs = [measure(way, root, rows) for _ in range(repeat)]
    best = min(runs, key=lambda run: run["process_seconds"])
    return best | {"peak_mb": max(run["peak_mb"] for run in runs)}


def show(results: list[dict[str, Any]]) -> None:
    print(f"{'way':<26}{'rows':>10}{'process s':>11}{'work s':>9}{'CPU s':>9}{'peak MB':>9}")
    for run in results:
        print(
            f"{run['way']:<26}{run['rows']:>10,}{run['process_seconds']:>11.2f}"
            f"{run['work_seconds']:>9.2f}{run['cpu_seconds']:>9.2f}{run['peak_mb']:>9,}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=WAYS, help="measure one way only")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.root)
        return
    if options.make:
        make_world(options.root, options.make)
        return
    results = []
    with tempfile.TemporaryDirectory(prefix="tallywright-bench-") as folder:
        for rows in (options.rows, SMALL):
            root = Path(folder) / str(rows)
            root.mkdir()
            subprocess.run([sys.executable, __file__, "--make", str(rows), "--root", str(root)], check=True)
            results += [best_of(way, root, rows, options.repeat) for way in WAYS if options.only in (None, way)]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
