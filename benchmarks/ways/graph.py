"""What somebody writes who scores an Arrow batch with an ONNX graph by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
from benchmarks.ways.world import NUMERIC, TEXTS

if TYPE_CHECKING:
    from collections.abc import Sequence


class Graph:
    """The graph, loaded; one thread at a time."""

    def __init__(self, onnx: bytes, categories: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self._categories = pa.array(categories)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Key, prediction and probability."""
        numbers = np.stack([batch.column(name).to_numpy().astype(np.float32) for name in NUMERIC], axis=1)
        codes = np.stack([self._codes(batch.column(name)) for name in TEXTS], axis=1)
        (scores,) = self._session.run(["score"], {"numeric": numbers, "categorical": codes})
        labels = (scores >= 0.5).astype(np.int32)
        columns = [batch.column("order_id"), pa.array(labels), pa.array(scores)]
        return pa.record_batch(columns, names=["order_id", "prediction", "probability"])

    def _codes(self, column: pa.Array) -> Any:
        encoded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
        known = pc.fill_null(pc.index_in(encoded.dictionary, self._categories), -1).to_numpy().astype(np.int64) + 2
        return known[encoded.indices.to_numpy()]
