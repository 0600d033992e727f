"""What the fresh process observes of a package: it loads, scores, and tries what may come, one after another.

An observation that cannot be made is an error in the answer, and a failed check of the gate; the others are made all
the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.errors import TallyError
from tallywright.gates.operations.confinement import refuses_pickles, refuses_sockets
from tallywright.gates.operations.contract import all_finite, tried
from tallywright.gates.operations.latency import CALLS, peak_megabytes, time_calls
from tallywright.gates.operations.samples import as_batch
from tallywright.observability import configure_logging, log
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor, outputs_of
from tallywright.profiles.accumulate import profile_rows
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallywright.packaging.package import Package

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
LOG_LINE: Final = "operations gate: {rows} rows scored by package {digest}"


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What is asked about: the package by its folder and digest, and what stands in for it.

    `champion` is the folder and the digest of the package that a rollback brings back; `constant` the score that the
    spec's fallback declares, with the `threshold` of a binary model.
    """

    folder: str
    digest: str
    champion: tuple[str, str] | None = None
    constant: float | None = None
    threshold: float = 0.5


def probe(asked: ProbeRequest) -> dict[str, Any]:
    """Observes the package; `errors` holds, by observation, why one could not be made.

    Raises:
        PackageError: The package cannot be loaded.
    """
    configure_logging()
    started = time.perf_counter()
    package = load_package(Path(asked.folder), digest=asked.digest)
    predictor = Predictor(package)
    answer: dict[str, Any] = {
        "load_seconds": time.perf_counter() - started,
        "pickle_off": refuses_pickles(),
        "network_off": refuses_sockets(),
        "foreign": sorted(name for name in _NOT_FOR_SCORING if find_spec(name) is not None),
        "errors": {},
    }
    observations: dict[str, Callable[[], Any]] = {
        "sample": lambda: _sample(predictor),
        "contract": lambda: tried(package, predictor),
        "latency": lambda: _latency(predictor),
        "peak_megabytes": peak_megabytes,
        "counters": lambda: _counters(predictor),
        "champion": lambda: _champion(package, asked),
        "constant": lambda: _constant(package, asked),
    }
    for name, observe in observations.items():
        try:
            answer[name] = observe()
        except Exception as error:  # noqa: BLE001 - a failed check, and no reason to make no other
            text = error.found if isinstance(error, TallyError) else f"{type(error).__name__}: {error}"
            answer["errors"][name] = text[:500]
    return answer


def _sample(predictor: Predictor) -> dict[str, Any]:
    """Scores the recorded sample: against the scores of training, whole and in pieces."""
    package = predictor.package
    inputs, expected = package.parity()
    scores = predictor.score(inputs)
    outputs = predictor(as_batch(package, inputs))
    pieces = [predictor(as_batch(package, inputs.take(rows))) for rows in (slice(0, 1), slice(1, None))]
    same_shape = scores.shape == expected.shape
    difference = np.abs(scores.astype(np.float64) - expected) if same_shape else None
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return {
        "rows": inputs.rows,
        "width": int(scores.shape[1]) if scores.ndim > 1 else 1,
        "bitwise": same_shape and scores.tobytes() == expected.astype(np.float32).tobytes(),
        "parity": None if difference is None else float(difference.max(initial=0.0)) / scale,
        "finite": bool(np.isfinite(scores).all()),
        "schema": outputs.schema.equals(package.output_schema),
        "batch_free": pa.Table.from_batches([outputs]).equals(pa.Table.from_batches(pieces)),
    }


def _latency(predictor: Predictor) -> dict[str, list[float]]:
    """Milliseconds of calls, by their number of rows; the batches repeat the sample."""
    inputs, _ = predictor.package.parity()
    times = {}
    for rows, most in CALLS.items():
        batch = as_batch(predictor.package, inputs.take(np.arange(rows) % inputs.rows))
        times[str(rows)] = time_calls(partial(predictor, batch), most)
    return times


def _counters(predictor: Predictor) -> dict[str, Any]:
    """Scores the sample as a day is scored: one log line, and the counters that drift is computed from."""
    package = predictor.package
    inputs, _ = package.parity()
    prediction = predictor.predict(as_batch(package, inputs))
    counted = prediction.inputs
    profile = profile_rows(package.definition, counted.numeric, counted.categorical, prediction.scores)
    log.info(LOG_LINE.format(rows=inputs.rows, digest=package.digest))
    return {
        "scored": inputs.rows,
        "rows": profile.rows,
        "columns": len(profile.columns),
        "comparable": profile.definition_digest == package.reference.definition_digest,
    }


def _champion(package: Package, asked: ProbeRequest) -> dict[str, Any] | None:
    """Loads the champion's package and scores its own sample with it."""
    if asked.champion is None:
        return None
    folder, digest = asked.champion
    champion = Predictor(load_package(Path(folder), digest=digest))
    inputs, _ = champion.package.parity()
    outputs = champion(as_batch(champion.package, inputs))
    return {
        "rows": outputs.num_rows,
        "finite": all_finite(outputs),
        "same_schema": outputs.schema.equals(package.output_schema),
        "difference": champion.package.meaning.difference(package.meaning),
    }


def _constant(package: Package, asked: ProbeRequest) -> dict[str, Any] | None:
    """Makes a row of the declared score."""
    if asked.constant is None:
        return None
    scores = np.full(1, asked.constant, dtype=np.float32)
    outputs = outputs_of(package.postprocess, scores, package.threshold(asked.threshold))
    allowed = TASKS[package.postprocess.task].constant
    sound = all_finite(outputs) and allowed is not None and allowed[0] <= asked.constant <= allowed[1]
    return {"rows": outputs.num_rows, "finite": sound, "same_schema": outputs.schema.equals(package.output_schema)}
