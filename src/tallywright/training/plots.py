"""Plots of a training as PNG: the loss by epoch, and the evaluation on the holdout."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from tallywright.tasks import TaskName
    from tallywright.training.checkpoint import Epoch


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
