"""Evaluates the packaged model with the Predictor that will score: beside the baselines, by slice, and as plots."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright import metrics
from tallywright.mlflow_names import slice_name
from tallywright.tasks import HIGHER_IS_BETTER, TASKS
from tallywright.training.baselines import linear_scores, tree_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from matplotlib.axes import Axes

    from tallywright.tasks import TaskName
    from tallywright.training.checkpoint import Epoch
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


def draw_plots(task: TaskName, history: Sequence[Epoch], truth: np.ndarray, scores: np.ndarray) -> dict[str, bytes]:
    """File name to PNG: the loss curve always, ROC and calibration for binary, predicted against true for regression.

    Args:
        task: What kind of model it is.
        history: The epochs of the fit.
        truth: The holdout's targets; 0 and 1 for binary.
        scores: The package's scores of them.
    """
    plots = {"loss.png": _png(lambda axes: _loss(axes, history))}
    kind = TASKS[task]
    if kind.thresholds:
        plots["roc.png"] = _png(lambda axes: _roc(axes, truth, scores))
        plots["calibration.png"] = _png(lambda axes: _calibration(axes, truth, scores))
    elif not kind.classifies:
        plots["predicted.png"] = _png(lambda axes: _predicted(axes, truth, scores))
    return plots


def _png(draw: Any) -> bytes:
    # A figure of its own, without pyplot: no window system, no state that outlives the call.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    file = io.BytesIO()
    # Without its version in the file, equal figures are equal bytes.
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _loss(axes: Axes, history: Sequence[Epoch]) -> None:
    epochs = [epoch.epoch for epoch in history]
    axes.plot(epochs, [epoch.train_loss for epoch in history], marker=".", label="training")
    axes.plot(epochs, [epoch.validation_loss for epoch in history], marker=".", label="validation")
    axes.set(xlabel="epoch", ylabel="loss", title="Loss by epoch")
    axes.legend()


def _roc(axes: Axes, truth: np.ndarray, scores: np.ndarray) -> None:
    order = np.argsort(-scores, kind="stable")
    hits = truth[order] > 0
    last = np.append(np.diff(scores[order]) != 0, True)
    found, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    axes.plot(np.append(0, false / max(false[-1], 1)), np.append(0, found / max(found[-1], 1)))
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC on the holdout")


def _calibration(axes: Axes, truth: np.ndarray, scores: np.ndarray, *, bins: int = 10) -> None:
    parts = [part for part in np.array_split(np.argsort(scores, kind="stable"), bins) if part.size]
    axes.plot([scores[part].mean() for part in parts], [truth[part].mean() for part in parts], marker="o")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="mean probability", ylabel="share of positives", title="Calibration on the holdout, by tenths")


def _predicted(axes: Axes, truth: np.ndarray, scores: np.ndarray) -> None:
    axes.plot(truth, scores, linestyle="", marker=".", alpha=0.3)
    axes.set(xlabel="true", ylabel="predicted", title="Holdout")
