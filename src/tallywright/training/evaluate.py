"""Evaluates the packaged model with the Predictor that will score: beside the baselines, by slice, and as plots."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright import metrics
from tallywright.mlflow_names import slice_name
from tallywright.tasks import metric_of
from tallywright.training.baselines import BASELINES
from tallywright.training.decision_threshold import decision_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from matplotlib.axes import Axes

    from tallywright.spec import ModelSpec
    from tallywright.spec.sections import Costs
    from tallywright.training.objective import Objective

SLICE_ROWS: Final = 200
"""A slice with fewer holdout rows says too little to be reported."""
_LOSS: Final = "_loss"
_MOST_CLASSES: Final = 30
"""More of them cannot be read on a plot."""
_LABEL: Final = 24
"""Characters of a class on a plot."""
_LABELS: Final = {"train": "training"}


def measure(
    objective: Objective,
    target: np.ndarray,
    scores: np.ndarray,
    *,
    threshold: float = 0.5,
    costs: Costs | None = None,
    by_class: bool = True,
) -> dict[str, float]:
    """The task's metrics by name; those that these rows do not define (one class only) are left out.

    Args:
        objective: The task and its classes.
        target: As in the data.
        scores: Of the model.
        threshold: Of a binary model: the least probability that predicts the positive class.
        costs: Of a binary model's wrong decisions, where the spec gives them.
        by_class: Those of each class of a multiclass model as well.
    """
    classes = tuple(map(str, objective.classes)) if by_class and objective.kind.per_class else ()
    found = metrics.evaluate(
        objective.numbered(target), scores, task=objective.task, threshold=threshold, classes=classes, costs=costs
    )
    return {name: value for name, value in found.items() if math.isfinite(value)}


def measure_validation(
    spec: ModelSpec, objective: Objective, target: np.ndarray, scores: np.ndarray
) -> dict[str, float]:
    """The figures of a model on the validation rows, with the decision threshold that it would get of them."""
    threshold = decision_threshold(spec, objective.numbered(target), scores).value
    return measure(objective, target, scores, threshold=threshold, costs=spec.gates.costs)


def compared_by(spec: ModelSpec, metrics: Mapping[str, float]) -> str:
    """The metric by which the gate compares, or the task's first where that is none of these."""
    wanted = (spec.gates.primary_metric, *spec.training.kind.guards, *sorted(spec.training.kind.metrics))
    return next((name for name in wanted if name in metrics), spec.gates.primary_metric)


def measure_slices(
    measured: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    table: pa.Table,
    target: np.ndarray,
    scores: np.ndarray,
    columns: Sequence[str],
) -> dict[str, dict[str, float]]:
    """The metrics of each value of the slice columns with enough rows, null being one of them, by `slice_name`.

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
        values = sorted(enumerate(encoded.dictionary.to_pylist()), key=lambda pair: str(pair[1]))
        for code, value in [*values, (len(values), None)]:
            inside = codes == code
            if inside.sum() >= SLICE_ROWS:
                figures = measured(target[inside], scores[inside])
                found[slice_name(column, value)] = {"rows": float(inside.sum()), **figures}
    return found


def better_baselines(results: Mapping[str, Mapping[str, float]], metric: str) -> list[str]:
    """A sentence for each baseline that is better than the model by this metric.

    Args:
        results: Metrics on the same rows: of `model`, and of each baseline by its name.
        metric: Such as `roc_auc`; where the model has none, there is nothing to say.
    """
    own = results["model"].get(metric)
    others = {name: values[metric] for name, values in results.items() if name in BASELINES and metric in values}
    if own is None:
        return []
    return [
        f"the baseline {name} is better than the model on the holdout: {metric} {value:.4f}, the model {own:.4f}"
        for name, value in sorted(others.items())
        if metric_of(metric).goodness(value) > metric_of(metric).goodness(own)
    ]


def draw_plots(
    objective: Objective, curves: Mapping[str, Sequence[float]], truth: np.ndarray, scores: np.ndarray
) -> dict[str, bytes]:
    """File name to PNG: the loss curve where there is one, and what shows how good a model of its task is.

    That is ROC and calibration; the confusion of classes and the calibration of the predicted one; predicted against
    true.

    Args:
        objective: The task and its classes.
        curves: The losses of the fit by their names, a value a round.
        truth: The holdout's targets, as metrics read them.
        scores: The package's scores of them.
    """
    losses = {name.removesuffix(_LOSS): values for name, values in curves.items() if name.endswith(_LOSS)}
    plots = {"loss.png": _png(lambda axes: _loss(axes, losses))} if losses else {}
    kind = objective.kind
    if kind.per_class:
        chosen, confidence = metrics.predicted_classes(scores)
        names = [str(name) for name in objective.classes]
        plots["calibration.png"] = _png(lambda axes: _calibration(axes, chosen == truth, confidence))
        if len(names) <= _MOST_CLASSES:
            plots["confusion.png"] = _png(lambda axes: _confusion(axes, truth, chosen, names))
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


def _loss(axes: Axes, losses: Mapping[str, Sequence[float]]) -> None:
    for name, values in losses.items():
        axes.plot(range(1, len(values) + 1), values, marker=".", label=_LABELS.get(name, name))
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
    axes.set(xlabel="mean probability", ylabel="observed share", title="Calibration on the holdout, by tenths")


def _confusion(axes: Axes, truth: np.ndarray, chosen: np.ndarray, names: Sequence[str]) -> None:
    """Of the rows of each class, the shares that were predicted to be of each; a class without rows is left white."""
    known = truth >= 0
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (truth[known], chosen[known]), 1)
    rows = counts.sum(axis=1, keepdims=True)
    axes.imshow(np.divide(counts, rows, out=np.full_like(counts, np.nan), where=rows > 0), cmap="Blues", vmin=0, vmax=1)
    # A class may be called $x$, which is no formula.
    places = range(len(names))
    axes.set_xticks(places, [name[:_LABEL] for name in names], rotation=90, parse_math=False)
    axes.set_yticks(places, [name[:_LABEL] for name in names], parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title="Shares of each class on the holdout")


def _predicted(axes: Axes, truth: np.ndarray, scores: np.ndarray) -> None:
    axes.plot(truth, scores, linestyle="", marker=".", alpha=0.3)
    axes.set(xlabel="true", ylabel="predicted", title="Holdout")
