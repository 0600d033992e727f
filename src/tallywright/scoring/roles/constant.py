"""The declared constant in the shape of a predictor: the same score for every row, counted like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tallywright.packaging.manifest import Postprocess
from tallywright.packaging.predictor import Prediction, outputs_of
from tallywright.packaging.preprocess import ModelInput
from tallywright.profiles.profile import define

if TYPE_CHECKING:
    import pyarrow as pa

    from tallywright.scoring.job import JobConstant


class ConstantPredictor:
    """Gives every row the declared score; it reads no column, so its profile has none but the score's."""

    def __init__(self, constant: JobConstant, *, threshold: float) -> None:
        self._score = np.float32(constant.score)
        self._threshold = threshold
        self._postprocess = Postprocess(task=constant.task)
        self.output_schema: pa.Schema = self._postprocess.output_schema
        self.definition = define({}, {}, np.array([self._score]), 1)

    def predict(self, batch: pa.RecordBatch) -> Prediction:
        """The declared score, once a row."""
        rows = batch.num_rows
        scores = np.full(rows, self._score, dtype=np.float32)
        nothing = ModelInput(np.empty((rows, 0), dtype=np.float32), np.empty((rows, 0), dtype=np.int64))
        return Prediction(outputs_of(self._postprocess, scores, self._threshold), nothing, scores)

    def clone(self) -> ConstantPredictor:
        """Itself, as it has no state."""
        return self
