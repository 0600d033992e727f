"""Evaluates the packaged model with the Predictor that will score: beside the baselines, overall and by slice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright import metrics
from tallywright.mlflow_names import slice_name
from tallywright.tasks import HIGHER_IS_BETTER
from tallywright.training.baselines import linear_scores, tree_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import pyarrow as pa

    from tallywright.training.loop import Rows
    from tallywright.training.network import Scaling
    from tallywright.training.objective import Objective

SLICE_ROWS: Final = 200
"""A slice with fewer holdout rows says too little to be reported."""


@dataclass(frozen=True, slots=True)
class BaselineInputs:
    """What the baselines are fitted with, which is what the network was.

    Args:
        objective: The task and its classes.
        scaling: The normalisation of the training rows.
        categories: Number of codes of each categorical column.
        train: The rows the network learnt from, targets encoded.
        seed: For the trees' own early stopping.
    """

    objective: Objective
    scaling: Scaling
    categories: Sequence[int]
    train: Rows
    seed: int

    def baseline_scores(self, rows: Rows) -> dict[str, np.ndarray]:
        """Each baseline's scores of the rows, by its name."""
        linear = "logistic_regression" if self.objective.kind.classifies else "linear_regression"
        return {
            linear: linear_scores(self.objective, self.scaling, self.categories, self.train, rows),
            "gradient_boosting": tree_scores(self.objective, self.categories, self.train, rows, self.seed),
        }


def measure(
    objective: Objective, target: np.ndarray, scores: np.ndarray, *, threshold: float = 0.5
) -> dict[str, float]:
    """The task's metrics by name; those that these rows do not define (one class only) are left out.

    Args:
        objective: The task and its classes.
        target: As in the data.
        scores: Of the model.
        threshold: Of a binary model: the least probability that predicts the positive class.
    """
    found = metrics.evaluate(objective.numbered(target), scores, task=objective.task, threshold=threshold)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def measure_slices(
    measured: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    table: pa.Table,
    target: np.ndarray,
    scores: np.ndarray,
    columns: Sequence[str],
) -> dict[str, dict[str, float]]:
    """The metrics of each value of the slice columns with enough rows, by `slice_name`.

    Args:
        measured: Gives the metrics of some targets and their scores.
        table: The rows.
        target: Their targets.
        scores: Their scores.
        columns: The slice columns.
    """
    found: dict[str, dict[str, float]] = {}
    for column in columns:
        encoded = table.column(column).combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
        for code, value in sorted(enumerate(encoded.dictionary.to_pylist()), key=lambda pair: str(pair[1])):
            inside = codes == code
            if inside.sum() >= SLICE_ROWS:
                figures = measured(target[inside], scores[inside])
                found[slice_name(column, value)] = {"rows": float(inside.sum()), **figures}
    return found


def better_baselines(results: Mapping[str, Mapping[str, float]], metric: str) -> list[str]:
    """A sentence for each baseline that is better than the network by this metric.

    Args:
        results: Metrics on the same rows: of `model`, and of each baseline by its name.
        metric: Such as `roc_auc`; where the model has none, there is nothing to say.
    """
    own = results["model"].get(metric)
    others = {name: values[metric] for name, values in results.items() if name != "model" and metric in values}
    if own is None:
        return []
    return [
        f"the baseline {name} is better than the network on the holdout: {metric} {value:.4f}, the network {own:.4f}"
        for name, value in sorted(others.items())
        if (value > own if HIGHER_IS_BETTER[metric] else value < own)
    ]


def measure_baselines(
    measured: Callable[[np.ndarray, np.ndarray], dict[str, float]], baselines: BaselineInputs, holdout: Rows
) -> dict[str, dict[str, float]]:
    """Each baseline's metrics on the holdout, by its name; `holdout` has the targets as they are in the data."""
    scores = baselines.baseline_scores(holdout)
    return {name: measured(holdout.target, values) for name, values in scores.items()}
