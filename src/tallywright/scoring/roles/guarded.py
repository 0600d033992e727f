"""What a model says to some rows, and where it fails: rows that its graph cannot score, outputs not to be served.

Whether a row fails is a function of that row alone, so it is the same in every batch, engine and order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tallywright.errors import PackageError
from tallywright.packaging.predictor import Prediction, Predictor
from tallywright.scoring.roles.output_gate import broken_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tallywright.packaging.preprocess import ModelInput
    from tallywright.scoring.roles.constant import ConstantPredictor

    AnyPredictor = Predictor | ConstantPredictor


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, and the rows of it that are no good.

    `failed` rows raised an error in the graph (their scores are NaN); `broken` rows would not pass the output gate,
    the failed ones among them. `error` is what the graph said.
    """

    prediction: Prediction
    failed: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    error: PackageError | None = None

    @property
    def outputs(self) -> pa.RecordBatch:
        """The output columns of all rows."""
        return self.prediction.outputs


def answer(predictor: AnyPredictor, batch: pa.RecordBatch) -> Answer:
    """Predicts a batch; a row that makes the graph fail takes no other row with it.

    Raises:
        InputError: A column is missing or mistyped.
    """
    try:
        prediction = predictor.predict(batch)
    except PackageError as error:
        if not isinstance(predictor, Predictor):
            raise
        inputs = predictor.package.preprocess.transform(batch)
        scores, failed = _one_by_one(predictor, inputs)
        prediction = predictor.finish(inputs, scores)
        return Answer(prediction, failed, broken_rows(prediction.outputs) | failed, error)
    nowhere = np.zeros(batch.num_rows, dtype=np.bool_)
    return Answer(prediction, nowhere, broken_rows(prediction.outputs))


def _one_by_one(predictor: Predictor, inputs: ModelInput) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores all rows that can be scored, by halving what fails; the others get NaN."""
    scores = predictor.no_scores(inputs.rows)
    failed = np.ones(inputs.rows, dtype=np.bool_)
    waiting = [(0, inputs.rows)]
    while waiting:
        start, stop = waiting.pop()
        try:
            scores[start:stop] = predictor.score(inputs.take(slice(start, stop)))
        except PackageError:
            if stop - start > 1:
                middle = (start + stop) // 2
                waiting += [(start, middle), (middle, stop)]
        else:
            failed[start:stop] = False
    return scores, failed
