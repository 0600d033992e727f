"""The realised metrics of labelled rows, with their intervals; a metric that these rows do not define says why.

Confidence intervals are DeLong's for the area under the ROC curve, the normal one for means (central limit theorem;
Wald's for an accuracy), and its root for a root of a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright import metrics
from tallywright.buffers import values_of
from tallywright.errors import InputError
from tallywright.labels import UNKNOWN_CLASS, class_names, encoded
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tallywright.records import Meaning
    from tallywright.spec.model import ModelSpec
    from tallywright.tasks import TaskName

Z95: Final = 1.959963984540054
Interval = tuple[float, float]
_LARGEST_ROOT: Final = 1e150
"""The square of a larger number is hardly a float64 any more."""
_NO_LABEL: Final = "no label is known"
_UNDEFINED: Final = "the known labels are all the same"
_NOT_FINITE: Final = "it is no finite number: labels and predictions are too far apart"
_NO_CLASSES: Final = "the tally was committed before tallies named their classes"


@dataclass(frozen=True, slots=True)
class Figure:
    """One realised metric: its value and interval; or None, and why it cannot be had."""

    metric: str
    value: float | None
    bounds: Interval | None = None
    note: str = ""


def figures(known: pa.Table, spec: ModelSpec, meaning: Meaning | None) -> Iterator[Figure]:
    """Yields every metric of the task, in a fixed order.

    Args:
        known: Scored rows with their labels, all known.
        spec: Names the target, and the task of tallies that do not say it.
        meaning: What the rows' output columns mean; None for tallies of the time before.

    Raises:
        InputError: Labels that are no class of a binary model.
    """
    task: TaskName = next((name for name in TASKS if meaning and name == meaning.task), spec.training.task)
    if not known.num_rows:
        yield from (Figure(metric, None, note=_NO_LABEL) for metric in sorted(TASKS[task].metrics))
        return
    column = known.column(spec.training.target)
    if TASKS[task].per_class:
        yield from _of_classes(known, column, meaning.classes if meaning else ())
        return
    y = encoded(
        column, TASKS[task], positive=meaning.positive if meaning else "", classes=meaning.classes if meaning else ()
    )
    if TASKS[task].classifies:
        _require_classes(column, y, spec)
    p = _floats(known.column(TASKS[task].score_column))
    found = metrics.evaluate(y, p, task=task)
    if TASKS[task].thresholds:
        # By what was predicted, not by today's threshold.
        found["accuracy"] = float(np.mean(_floats(known.column("prediction")) == y))
    for metric, value in found.items():
        if math.isfinite(value):
            yield Figure(metric, value, interval(metric, value, y, p, task=task))
        else:
            yield Figure(metric, None, note=_UNDEFINED if math.isnan(value) and np.ptp(y) == 0 else _NOT_FINITE)


def _of_classes(known: pa.Table, column: pa.ChunkedArray, classes: tuple[str, ...]) -> Iterator[Figure]:
    """Log loss and accuracy of a multiclass model; a label of another class counts as wholly improbable."""
    hits = pc.equal(class_names(column), class_names(known.column("prediction")))
    accuracy = float(pc.mean(hits).as_py())
    if classes and "probabilities" in known.column_names:
        y = encoded(column, TASKS["multiclass"], classes)
        p = _floats(pc.list_flatten(known.column("probabilities"))).reshape(known.num_rows, -1)
        losses = metrics.losses("log_loss", y, p, task="multiclass")
        assert losses is not None  # noqa: S101 - log loss is a mean
        value = float(losses.mean())
        yield Figure("log_loss", value, _of_a_mean("log_loss", value, losses))
    else:
        yield Figure("log_loss", None, note=_NO_CLASSES)
    yield Figure("accuracy", accuracy, _wald(accuracy, known.num_rows))


def _require_classes(column: pa.ChunkedArray, y: NDArray[np.float64], spec: ModelSpec) -> None:
    wrong = y == UNKNOWN_CLASS
    if wrong.any():
        names = sorted({class_names(column)[int(row)].as_py() for row in np.flatnonzero(wrong)[:100]})
        raise InputError(
            f"{spec.table('labels')}: {spec.training.target} has {int(wrong.sum())} labels that are no class of the "
            f"model: {', '.join(names[:5])}",
            expected="labels of the two classes that the model was trained on",
            remedy=f"correct {spec.data.labels} and ingest the day again",
        )


def interval(
    metric: str, value: float, y: NDArray[np.float64], p: NDArray[np.float64], *, task: TaskName = "binary"
) -> Interval | None:
    """The 95 % confidence interval of a metric.

    Args:
        metric: Which.
        value: Of these rows.
        y: Labels 0 or 1, or values.
        p: Probabilities of 1, or predicted values.
        task: What kind of model it is, with one number a row.

    Returns:
        Lower and upper bound; None for a metric without a simple one, where there are too few rows of a class, and
        where a bound is beyond a float64.
    """
    if metric == "roc_auc":
        return _delong(value, y, p)
    if metric == "accuracy":
        return _wald(value, y.size)
    losses = metrics.losses(metric, y, p, task=task)
    return None if losses is None else _of_a_mean(metric, value, losses)


def _wald(value: float, rows: int) -> Interval:
    half = Z95 * (value * (1 - value) / max(rows, 1)) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)


def _of_a_mean(metric: str, value: float, losses: NDArray[np.float64]) -> Interval | None:
    """The interval of the mean of what each row has; for `rmse`, of its root."""
    if losses.size <= 1:
        return None
    if metric == "rmse" and value > _LARGEST_ROOT:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        mean, half = value**2 if metric == "rmse" else value, Z95 * float(losses.std(ddof=1)) / losses.size**0.5
    if not math.isfinite(mean + half):
        return None
    lower, upper = max(0.0, mean - half), min(mean + half, 1.0 if metric == "brier" else math.inf)
    return (lower**0.5, upper**0.5) if metric == "rmse" else (lower, upper)


def _delong(value: float, y: NDArray[np.float64], p: NDArray[np.float64]) -> Interval | None:
    """The 95 % interval of an AUC by its DeLong variance.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44, 1988; computed from midranks in O(n log n) as by Sun and Xu, "Fast
    implementation of DeLong's algorithm", IEEE Signal Processing Letters 21, 2014. A positive row's midrank among all
    rows less that among the positive ones is the number of negative rows below it, ties as a half: the structural
    components, whose variances over both classes add up to that of the AUC.
    """
    positive, negative = p[y == 1], p[y == 0]
    if min(positive.size, negative.size) <= 1:
        return None
    ranks = _midranks(np.concatenate([positive, negative]))
    above_negatives = (ranks[: positive.size] - _midranks(positive)) / negative.size
    below_positives = 1 - (ranks[positive.size :] - _midranks(negative)) / positive.size
    variance = above_negatives.var(ddof=1) / positive.size + below_positives.var(ddof=1) / negative.size
    half = Z95 * float(variance) ** 0.5
    return max(0.0, value - half), min(1.0, value + half)


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The values of a column without nulls; pyarrow's own conversion imports pandas."""
    chunks = [values_of(chunk) for chunk in column.cast(pa.float64(), safe=False).chunks]
    return np.concatenate([*chunks, np.zeros(0, dtype=np.float64)])
