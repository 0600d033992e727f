"""The metrics of gates, evaluation and monitoring, in numpy.

Training, the quality gate and realised performance all call these, so a metric means the same in every table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.tasks import TASKS, TaskName

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

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


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """The mean negative log likelihood; probabilities are kept 1e-7 away from 0 and 1. NaN for no rows."""
    labels, scores = _binary(y, p)
    clipped = np.clip(scores, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return _mean(-np.log(np.where(labels, clipped, 1 - clipped)))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """The mean squared difference of probability and outcome. NaN for no rows."""
    labels, scores = _binary(y, p)
    return _mean((scores - labels) ** 2)


def accuracy(y: ArrayLike, p: ArrayLike, threshold: float = 0.5) -> float:
    """The share of right predictions, where a probability of at least the threshold predicts 1. NaN for no rows."""
    labels, scores = _binary(y, p)
    return _mean(((scores >= threshold) == labels).astype(np.float64))


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = _CALIBRATION_BINS) -> float:
    """The expected calibration error over bins of equal width: mean |observed rate - mean probability| by rows.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    NaN for no rows.
    """
    labels, scores = _binary(y, p)
    if not labels.size:
        return float("nan")
    cell = np.minimum((scores * bins).astype(np.int64), bins - 1)
    observed = np.bincount(cell, weights=labels, minlength=bins)
    expected = np.bincount(cell, weights=scores, minlength=bins)
    return float(np.abs(observed - expected).sum() / labels.size)


def evaluate(y: ArrayLike, p: ArrayLike, *, task: TaskName = "binary") -> dict[str, float]:
    """All metrics of a task.

    Args:
        y: Labels 0 and 1; class numbers (multiclass); values (regression). Nothing missing.
        p: Probabilities of 1; probabilities [rows, classes]; predicted values.
        task: What kind of model it is.
    """
    kind = TASKS[task]
    if not kind.classifies:
        return _regression(np.asarray(y, np.float64), np.asarray(p, np.float64))
    if kind.per_class:
        return _multiclass(np.asarray(y, np.int64), np.asarray(p, np.float64))
    functions = (roc_auc, log_loss, brier, accuracy, calibration_error)
    return {function.__name__: function(y, p) for function in functions}


def _regression(y: NDArray[np.float64], p: NDArray[np.float64]) -> dict[str, float]:
    error, spread = p - y, y - _mean(y)
    variance = _mean(spread**2)
    explained = 1 - _mean(error**2) / variance if variance > 0 else float("nan")
    return {"rmse": float(np.sqrt(_mean(error**2))), "mae": _mean(np.abs(error)), "r2": explained}


def _multiclass(y: NDArray[np.int64], p: NDArray[np.float64]) -> dict[str, float]:
    chosen = np.clip(p[np.arange(y.size), y], SMALLEST_PROBABILITY, 1)
    hits = (p.argmax(axis=1) == y) if y.size else np.zeros(0, dtype=bool)
    return {"log_loss": _mean(-np.log(chosen)), "accuracy": _mean(hits.astype(np.float64))}


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _binary(y: ArrayLike, p: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"one probability a label is needed; found shapes {labels.shape} and {scores.shape}")
    if not np.isin(labels, (0.0, 1.0)).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("labels must be 0 or 1 and probabilities between 0 and 1, none missing")
    return labels == 1, scores
