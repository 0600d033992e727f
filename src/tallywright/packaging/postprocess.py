"""From the graph's scores to the output columns of a prediction."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array, string_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.packaging.schema import Postprocess


def outputs_of(postprocess: Postprocess, scores: NDArray[np.float32], threshold: float) -> pa.RecordBatch:
    """The output batch, in the package's output schema.

    Args:
        postprocess: The package's output side.
        scores: [rows], or [rows, classes] for a multiclass model.
        threshold: Binary models: the least probability that is predicted 1.
    """
    columns = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[postprocess.task]
    return pa.RecordBatch.from_arrays(columns(postprocess, scores, threshold), schema=postprocess.output_schema)


def _binary(_: Postprocess, scores: NDArray[np.float32], threshold: float) -> list[pa.Array]:
    prediction = (scores >= np.float32(threshold)).astype(np.int32)
    confidence = np.maximum(scores, np.float32(1) - scores)
    return [_int32(prediction), _float32(scores), _float32(confidence)]


def _regression(_: Postprocess, scores: NDArray[np.float32], __: float) -> list[pa.Array]:
    return [_float32(scores)]


def _multiclass(postprocess: Postprocess, scores: NDArray[np.float32], _: float) -> list[pa.Array]:
    rows, classes = scores.shape
    # The first of equal probabilities wins, on every machine.
    best = scores.argmax(axis=1).astype(np.int32) if rows else np.zeros(0, dtype=np.int32)
    if postprocess.class_type == "int32":
        prediction = _int32(np.array([int(name) for name in postprocess.classes], dtype=np.int32)[best])
    else:
        prediction = _labels(postprocess.classes).take(_int32(best))
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(classes)
    probabilities = pa.Array.from_buffers(
        pa.list_(pa.float32()), rows, [None, pa.py_buffer(offsets)], children=[_float32(scores.reshape(-1))]
    )
    return [prediction, probabilities, _float32(scores.max(axis=1, initial=0))]


@lru_cache(maxsize=64)
def _labels(classes: tuple[str, ...]) -> pa.Array:
    return string_array(classes).cast(pa.string())


def _float32(values: NDArray[Any]) -> pa.Array:
    return number_array(values, pa.float32())


def _int32(values: NDArray[Any]) -> pa.Array:
    return number_array(values, pa.int32())
