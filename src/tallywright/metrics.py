"""The metrics of gates, evaluation and monitoring, in numpy.

Training, the quality gate and realised performance all call these, so a metric means the same in every table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.class_metrics import ClassCounts, kind_of, names_of_class_metrics, place_of
from tallywright.tasks import EXPECTED_COST, TASKS, TaskName, metric_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from tallywright.spec.sections import Costs

SMALLEST_PROBABILITY: Final = 1e-7
"""About the resolution of a float32 probability near 1: a certain and wrong prediction costs 16.1, not infinity."""
_CALIBRATION_BINS: Final = 10


def roc_auc(y: ArrayLike, p: ArrayLike) -> float:
    """The area under the ROC curve: the share of (positive, negative) pairs in right order, ties as a half.

    This is the Mann-Whitney statistic over the number of pairs (Hanley and McNeil, "The meaning and use of the area
    under a receiver operating characteristic (ROC) curve", Radiology 143, 1982).

    NaN when only one class is there.
    """
    labels, scores = _binary(y, p)
    if not labels.size:
        return float("nan")
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], labels[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    positives = np.add.reduceat(positive.astype(np.int64), starts)
    sizes = np.diff(np.append(starts, ordered.size)).astype(np.int64)
    negatives = sizes - positives
    below = np.cumsum(negatives) - negatives
    pairs = int(positives.sum()) * int(negatives.sum())
    if pairs == 0:
        return float("nan")
    # Twice the pairs in whole numbers: exact whatever the order of the rows.
    doubled = int(np.sum(positives * (2 * below + negatives)))
    return doubled / (2 * pairs)


def decided(p: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Where the positive class is predicted: a probability, a float32 as models give it, of at least the threshold."""
    return np.asarray(np.asarray(p) >= np.float32(threshold))


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """The mean negative log likelihood; probabilities are kept 1e-7 away from 0 and 1. NaN for no rows."""
    return _mean(_log_losses(*_binary(y, p)))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """The mean squared difference of probability and outcome. NaN for no rows."""
    labels, scores = _binary(y, p)
    return _mean((scores - labels) ** 2)


def accuracy(y: ArrayLike, p: ArrayLike, threshold: float = 0.5) -> float:
    """The share of right predictions, where a probability of at least the threshold predicts 1. NaN for no rows."""
    labels, scores = _binary(y, p)
    return _mean((decided(scores, threshold) == labels).astype(np.float64))


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = _CALIBRATION_BINS) -> float:
    """The expected calibration error over bins of equal width: mean |observed rate - mean probability| by rows.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    NaN for no rows.
    """
    labels, scores = _binary(y, p)
    if not labels.size:
        return float("nan")
    cell = _bin_of(scores, bins)
    observed = np.bincount(cell, weights=labels, minlength=bins)
    expected = np.bincount(cell, weights=scores, minlength=bins)
    return float(np.abs(observed - expected).sum() / labels.size)


def calibration_gaps(y: ArrayLike, p: ArrayLike, bins: int = _CALIBRATION_BINS) -> NDArray[np.float64]:
    """Outcome less probability, in the bin of each row: [rows, bins], whose sums make `calibration_error`."""
    labels, scores = _binary(y, p)
    gaps = np.zeros((labels.size, bins))
    gaps[np.arange(labels.size), _bin_of(scores, bins)] = labels - scores
    return gaps


def _bin_of(scores: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.minimum((scores * bins).astype(np.int64), bins - 1)


def class_auc(y: NDArray[np.int64], p: NDArray[np.float64], place: int) -> float:
    """The area under the ROC curve of one class against all others, by its own probability."""
    return roc_auc(y == place, p[:, place])


def evaluate(
    y: ArrayLike,
    p: ArrayLike,
    *,
    task: TaskName = "binary",
    threshold: float = 0.5,
    classes: Sequence[str] = (),
    costs: Costs | None = None,
) -> dict[str, float]:
    """All metrics of a task; NaN for one that these rows do not define, infinity for one that is beyond a float64.

    Args:
        y: Labels 0 and 1; class numbers, -1 for a class that the model does not know (multiclass); values (regression).
            Nothing missing.
        p: Probabilities of 1; probabilities [rows, classes]; predicted values.
        task: What kind of model it is.
        threshold: Of a binary model: the least probability that predicts 1.
        classes: Names of the classes of a multiclass model; with them its metrics by class are given too.
        costs: Of a binary model's wrong decisions; with them the expected cost is given too.
    """
    kind = TASKS[task]
    if not kind.classifies:
        return _regression(np.asarray(y, np.float64), np.asarray(p, np.float64))
    if kind.per_class:
        return _of_classes(np.asarray(y, np.int64), np.asarray(p, np.float64), classes)
    found = {
        "roc_auc": roc_auc(y, p),
        "log_loss": log_loss(y, p),
        "brier": brier(y, p),
        "accuracy": accuracy(y, p, threshold),
        "calibration_error": calibration_error(y, p),
    }
    return found if costs is None else found | {EXPECTED_COST: _mean(_costs(*_binary(y, p), threshold, costs))}


def losses(
    metric: str,
    y: ArrayLike,
    p: ArrayLike,
    *,
    task: TaskName = "binary",
    threshold: float = 0.5,
    costs: Costs | None = None,
) -> NDArray[np.float64] | None:
    """The values whose mean is the metric (whose root of the mean, for `rmse`), a row each, as `evaluate` has it.

    Returns:
        None for a metric that is no mean of rows, or none of this task.
    """
    kind = TASKS[task]
    if not kind.has_metric(metric, costs=costs is not None) or not metric_of(metric).of_rows:
        return None
    if not kind.classifies:
        with _quiet():
            error: NDArray[np.float64] = np.asarray(p, np.float64) - np.asarray(y, np.float64)
            return np.asarray(error**2 if metric == "rmse" else error if metric == "bias" else np.abs(error))
    if kind.per_class:
        return _class_losses(metric, y, p)
    labels, scores = _binary(y, p)
    if costs is not None and metric == EXPECTED_COST:
        return _costs(labels, scores, threshold, costs)
    return _binary_losses(metric, labels, scores, threshold)


def _binary_losses(
    metric: str, labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float
) -> NDArray[np.float64]:
    if metric == "log_loss":
        return _log_losses(labels, scores)
    if metric == "brier":
        return np.asarray((scores - labels) ** 2, np.float64)
    return np.asarray(decided(scores, threshold) == labels, np.float64)


def _costs(
    labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float, costs: Costs
) -> NDArray[np.float64]:
    """What each row's decision costs: nothing where it is right."""
    positive = decided(scores, threshold)
    return costs.false_positive * (positive & ~labels) + costs.false_negative * (labels & ~positive)


def _of_classes(y: NDArray[np.int64], p: NDArray[np.float64], classes: Sequence[str]) -> dict[str, float]:
    """The metrics of a multiclass model, those of its classes too where they are named."""
    chosen, confidence = predicted_classes(p)
    counts = ClassCounts.of(y, chosen, p.shape[1])
    present = counts.actual > 0
    # The one-against-rest form of Hand and Till, "A simple generalisation of the area under the ROC curve for multiple
    # class classification problems", Machine Learning 45, 2001.
    areas = {int(place): class_auc(y, p, int(place)) for place in np.flatnonzero(present)}
    found = {
        "log_loss": _mean(_class_losses("log_loss", y, p)),
        "accuracy": _mean(_class_losses("accuracy", y, p)),
        "macro_auc": _mean(np.array(list(areas.values()))),
        "calibration_error": calibration_error(chosen == y, confidence),
    }
    found |= {name: float(counts.value(name, classes, present)) for name in ("macro_recall", "macro_f1")}
    for name in names_of_class_metrics(classes):
        place = place_of(name, classes)
        if kind_of(name) != "auc":
            found[name] = float(counts.value(name, classes, present))
        else:
            found[name] = areas[place] if place in areas else class_auc(y, p, place)
    return found


def predicted_classes(p: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The place of the most probable class of each row, and its probability."""
    if not len(p):
        return np.zeros(0, np.int64), np.zeros(0)
    return p.argmax(axis=1).astype(np.int64), np.minimum(p.max(axis=1), 1.0)


def _log_losses(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(scores, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(-np.log(np.where(labels, clipped, 1 - clipped)))


def _regression(y: NDArray[np.float64], p: NDArray[np.float64]) -> dict[str, float]:
    with _quiet():
        error, spread = p - y, y - _mean(y)
        variance, squared = _mean(spread**2), _mean(error**2)
        explained = 1 - squared / variance if variance > 0 and np.isfinite(squared) else float("nan")
        bias = _mean(error)
        return {"rmse": float(np.sqrt(squared)), "mae": _mean(np.abs(error)), "r2": explained, "bias": bias}


def _quiet() -> np.errstate:
    """What lies beyond a float64 becomes infinity or NaN, of which each reader says what it means to him."""
    return np.errstate(over="ignore", invalid="ignore")


def _class_losses(metric: str, y: ArrayLike, p: ArrayLike) -> NDArray[np.float64]:
    """Log loss or hits of a multiclass model; a class that it does not know has the probability 0."""
    classes, shares = np.asarray(y, np.int64), np.asarray(p, np.float64)
    if not classes.size:
        return np.zeros(0, np.float64)
    if metric == "accuracy":
        return np.asarray(shares.argmax(axis=1) == classes, np.float64)
    chosen = np.where(classes >= 0, shares[np.arange(classes.size), np.maximum(classes, 0)], 0.0)
    return np.asarray(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1)))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _binary(y: ArrayLike, p: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"one probability a label is needed; found shapes {labels.shape} and {scores.shape}")
    if not np.isin(labels, (0.0, 1.0)).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("labels must be 0 or 1 and probabilities between 0 and 1, none missing")
    return labels == 1, scores
