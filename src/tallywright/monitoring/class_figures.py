"""The realised metrics of a multiclass model, of all classes and of each.

A class without a label on a day has no figures on it, and neither have the means over classes: a mean over other
classes than yesterday's would look like a change of the model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright import metrics
from tallywright.buffers import floats_of
from tallywright.class_metrics import ClassCounts, kind_of, names_of_class_metrics, place_of
from tallywright.labels import class_names, encoded
from tallywright.monitoring.intervals import UNDEFINED, Z95, Figure, Interval, delong, of_a_mean, wald
from tallywright.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_ABSENT: Final = "no label of its class"
_NEVER_PREDICTED: Final = "its class is never predicted"
_SHOWN: Final = 5
_NO_CLASSES: Final = "the tally was committed before tallies named their classes"


def figures_of_classes(
    known: pa.Table, column: pa.ChunkedArray, classes: tuple[str, ...], *, by_class: bool
) -> Iterator[Figure]:
    """The metrics of a multiclass model; a label of another class counts as wholly improbable, and is never hit."""
    hits = pc.equal(class_names(column), class_names(known.column("prediction")))
    accuracy = float(pc.mean(hits).as_py())
    if classes and "probabilities" in known.column_names:
        y = encoded(column, TASKS["multiclass"], classes)
        p = floats_of(pc.list_flatten(known.column("probabilities"))).reshape(known.num_rows, -1)
        losses = metrics.losses("log_loss", y, p, task="multiclass")
        assert losses is not None  # noqa: S101 - log loss is a mean
        value = float(losses.mean())
        yield Figure("log_loss", value, of_a_mean("log_loss", value, losses))
        yield from _of_counts(y.astype(np.int64), p, classes, by_class=by_class)
    else:
        yield from (
            Figure(metric, None, note=_NO_CLASSES) for metric in sorted(TASKS["multiclass"].metrics - {"accuracy"})
        )
    yield Figure("accuracy", accuracy, wald(accuracy, known.num_rows))


def _of_counts(
    y: NDArray[np.int64], p: NDArray[np.float64], classes: tuple[str, ...], *, by_class: bool
) -> Iterator[Figure]:
    """Yields the metrics that look at classes, and those of each class."""
    found = metrics.evaluate(y, p, task="multiclass", classes=classes if by_class else ())
    counts = ClassCounts.of(y, metrics.predicted_classes(p)[0], len(classes))
    absent = [name for name, rows in zip(classes, counts.actual, strict=True) if not rows]
    missing = f"no label of class {', '.join(absent[:_SHOWN])}" + (", …" if len(absent) > _SHOWN else "")
    yield Figure("calibration_error", found["calibration_error"])
    for metric in ("macro_auc", "macro_recall", "macro_f1"):
        if absent:
            yield Figure(metric, None, note=missing)
        else:
            yield Figure(metric, found[metric], _of_recalls(counts) if metric == "macro_recall" else None)
    for metric in names_of_class_metrics(classes) if by_class else ():
        value = found[metric]
        if math.isfinite(value):
            rows = counts.rows_of_share(metric, classes)
            bounds = _of_an_area(value, place_of(metric, classes), y, p) if kind_of(metric) == "auc" else None
            yield Figure(metric, value, wald(value, rows) if rows is not None else bounds)
        else:
            one_class = UNDEFINED if kind_of(metric) == "auc" else _NEVER_PREDICTED
            yield Figure(metric, None, note=one_class if counts.rows_of(metric, classes) else _ABSENT)


def _of_an_area(value: float, place: int, y: NDArray[np.int64], p: NDArray[np.float64]) -> Interval | None:
    return delong(value, (y == place).astype(np.float64), p[:, place])


def _of_recalls(counts: ClassCounts) -> Interval:
    """The interval of the mean recall: the classes' rows are others, so their variances add up."""
    recalls = counts.hits / counts.actual
    half = Z95 * float(np.sqrt((recalls * (1 - recalls) / counts.actual).sum())) / len(recalls)
    return max(0.0, float(recalls.mean()) - half), min(1.0, float(recalls.mean()) + half)
