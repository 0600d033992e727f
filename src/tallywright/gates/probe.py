"""Loads and runs a package in a process of its own: `python -m tallywright.gates.probe <folder> <digest>`.

A process that has loaded nothing else shows what a scoring worker will meet. Whoever tries to unpickle an object here
is stopped by an audit hook, which no library can talk itself around. Prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array, string_array
from tallywright.errors import TallyError
from tallywright.packaging.package import Package, load_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import NULL_CODE, ModelInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

LATENCY_ROWS: Final = 1000
_REPEATS: Final = 15
_NOT_FOR_SCORING: Final = (
    "pandas",
    "torch",
    "mlflow",
    "sklearn",
    "great_expectations",
    "airflow",
    "pyspark",
    "apache_beam",
)


def main(arguments: list[str]) -> int:
    """Runs the probe; an expected failure goes to stderr with its exit code."""
    sys.addaudithook(_no_pickle)
    try:
        observed = probe(load_package(Path(arguments[0]), digest=arguments[1]))
    except TallyError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the process's answer
        return error.exit_code
    print(json.dumps(observed))  # noqa: T201 - this is the process's answer
    return 0


def probe(package: Package) -> dict[str, Any]:
    """Measures parity, schemas, dependence on the batch, latency and memory of a package in this process."""
    started = time.perf_counter()
    predictor = Predictor(package)
    load_seconds = time.perf_counter() - started
    inputs, expected = package.parity()
    scores = predictor.score(inputs)
    batch = as_batch(package, inputs)
    outputs = predictor(batch)
    pieces = [predictor(batch.slice(0, 1)), predictor(batch.slice(1))]
    thousand = as_batch(package, inputs.take(np.arange(LATENCY_ROWS) % inputs.rows))
    return {
        "rows": inputs.rows,
        "parity": float(np.max(np.abs(scores - expected), initial=0.0)) if scores.shape == expected.shape else None,
        "finite": bool(np.isfinite(scores).all()),
        "schema": outputs.schema.equals(package.output_schema),
        "batch_free": pa.Table.from_batches([outputs]).equals(pa.Table.from_batches(pieces)),
        "load_seconds": load_seconds,
        "milliseconds": _median_milliseconds(predictor, thousand),
        "peak_megabytes": _peak_megabytes(),
        "foreign": sorted(_NOT_FOR_SCORING & sys.modules.keys()),
    }


def as_batch(package: Package, inputs: ModelInput) -> pa.RecordBatch:
    """Rows from which the package's preprocessing makes `inputs`: codes become their categories again."""
    preprocess = package.preprocess
    columns = [number_array(inputs.numeric[:, i], pa.float32()) for i in range(len(preprocess.numeric))]
    columns += [
        _texts(inputs.categorical[:, i], category.categories) for i, category in enumerate(preprocess.categorical)
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(preprocess.columns))


def _texts(codes: NDArray[np.int64], categories: tuple[str, ...]) -> pa.Array:
    """A dictionary array whose index is the model's code: first null, then a text that is no category, then those."""
    values = string_array(["", "?" + "".join(categories), *categories])
    valid = np.packbits(np.arange(len(values)) > NULL_CODE, bitorder="little")
    dictionary = pa.Array.from_buffers(values.type, len(values), [pa.py_buffer(valid), *values.buffers()[1:]])
    return pa.DictionaryArray.from_arrays(number_array(codes, pa.int64()), dictionary)


def _median_milliseconds(predictor: Predictor, batch: pa.RecordBatch) -> float:
    predictor(batch)
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        predictor(batch)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _peak_megabytes() -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands the parent's ru_maxrss down to a child; VmHWM counts this program alone.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _no_pickle(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        raise RuntimeError(f"a pickle was about to load {arguments}; packages hold none")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
