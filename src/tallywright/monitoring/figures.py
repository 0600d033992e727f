"""The realised metrics of labelled rows, with their intervals; a metric that these rows do not define says why.

Those of a multiclass model are in `class_figures`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright import metrics
from tallywright.buffers import floats_of
from tallywright.class_metrics import names_of_class_metrics
from tallywright.errors import InputError
from tallywright.labels import UNKNOWN_CLASS, class_names, encoded
from tallywright.monitoring.class_figures import figures_of_classes
from tallywright.monitoring.intervals import UNDEFINED, Figure, interval, of_a_mean
from tallywright.tasks import EXPECTED_COST, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from tallywright.records import Meaning
    from tallywright.spec.model import ModelSpec
    from tallywright.tasks import TaskName

_NO_LABEL: Final = "no label is known"
_NOT_FINITE: Final = "it is no finite number: labels and predictions are too far apart"


def figures(known: pa.Table, spec: ModelSpec, meaning: Meaning | None, *, by_class: bool = False) -> Iterator[Figure]:
    """Yields every metric of the task, in a fixed order.

    Args:
        known: Scored rows with their labels, all known.
        spec: Names the target, and the task of tallies that do not say it.
        meaning: What the rows' output columns mean; None for tallies of the time before.
        by_class: Also those of each class of a multiclass model.

    Raises:
        InputError: Labels that are no class of a binary model.
    """
    task: TaskName = next((name for name in TASKS if meaning and name == meaning.task), spec.training.task)
    kind, classes = TASKS[task], meaning.classes if meaning else ()
    costs = spec.gates.costs if kind.thresholds else None
    if not known.num_rows:
        asked = sorted(kind.metrics | ({EXPECTED_COST} if costs else set()))
        asked += names_of_class_metrics(classes) if by_class and kind.per_class else []
        yield from (Figure(metric, None, note=_NO_LABEL) for metric in asked)
        return
    column = known.column(spec.training.target)
    if kind.per_class:
        yield from figures_of_classes(known, column, classes, by_class=by_class)
        return
    y = encoded(column, kind, positive=meaning.positive if meaning else "", classes=classes)
    if kind.classifies:
        _require_classes(column, y, spec)
    p = floats_of(known.column(kind.score_column))
    found = metrics.evaluate(y, p, task=task)
    if kind.thresholds:
        # By what was predicted, not by today's threshold.
        predicted = floats_of(known.column("prediction"))
        found["accuracy"] = float(np.mean(predicted == y))
        if costs is not None:
            paid = metrics.losses(EXPECTED_COST, y, predicted, costs=costs)
            assert paid is not None  # noqa: S101 - it is a mean of rows
            yield Figure(EXPECTED_COST, float(paid.mean()), of_a_mean(EXPECTED_COST, float(paid.mean()), paid))
    for metric, value in found.items():
        if math.isfinite(value):
            yield Figure(metric, value, interval(metric, value, y, p, task=task))
        else:
            yield Figure(metric, None, note=UNDEFINED if math.isnan(value) and np.ptp(y) == 0 else _NOT_FINITE)


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
