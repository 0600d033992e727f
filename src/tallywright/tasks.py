"""The tasks (binary, multiclass, regression) as records of their properties; no other module compares task names.

The types of a package's output columns (`packaging.manifest`) and the formulas (`metrics`, `training.objective`) stay
where the libraries are that they need; what they have to agree on stands here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

TaskName = Literal["binary", "multiclass", "regression"]
PrimaryMetric = Literal[
    "roc_auc", "log_loss", "brier", "rmse", "accuracy", "mae", "r2", "macro_auc", "macro_recall", "macro_f1",
    "expected_cost",
]  # fmt: skip
"""The metrics by which two models can be compared for a promotion."""

MAX_CLASSES: Final = 1000
"""A model has fewer classes than this many and one."""
NUMBERED: Final = ("0", "1")
"""The classes of a binary model that names none: 1 is the positive one."""
EXPECTED_COST: Final = "expected_cost"
"""What the decisions of a binary model cost, a row; only where the spec gives `gates.costs`."""

_INFINITY: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As tables, spec and MLflow have it.
        better: Which values are better: higher ones, lower ones, or those near zero.
        least: The least value that it can have.
        greatest: The greatest one.
        unit: What a value is: a share from 0 to 1, a number without a unit, the target's own unit, or money.
        of_rows: True where it is the mean of what each row has, or the root of such a mean: a sum and a count by day
            are then all that is needed. Other metrics look at rows in pairs, by bins or by classes.
        of_class: The class that it is about, as names of metrics write it; empty for one about all rows.
    """

    name: str
    better: Literal["higher", "lower", "near zero"]
    least: float = 0.0
    greatest: float = 1.0
    unit: Literal["share", "number", "target", "money"] = "share"
    of_rows: bool = False
    of_class: str = ""

    def goodness(self, value: Any) -> Any:
        """A value, or an array of them, turned so that higher is better: differences of these are gains."""
        return value if self.better == "higher" else -value if self.better == "lower" else -abs(value)


_METRICS: Final = {
    one.name: one
    for one in (
        Metric("roc_auc", "higher"),
        Metric("log_loss", "lower", greatest=_INFINITY, unit="number", of_rows=True),
        Metric("brier", "lower", of_rows=True),
        Metric("accuracy", "higher", of_rows=True),
        Metric("calibration_error", "lower"),
        Metric("macro_auc", "higher"),
        Metric("macro_recall", "higher"),
        Metric("macro_f1", "higher"),
        Metric("rmse", "lower", greatest=_INFINITY, unit="target", of_rows=True),
        Metric("mae", "lower", greatest=_INFINITY, unit="target", of_rows=True),
        Metric("r2", "higher", least=-_INFINITY, unit="number"),
        Metric("bias", "near zero", least=-_INFINITY, greatest=_INFINITY, unit="target", of_rows=True),
        Metric(EXPECTED_COST, "lower", greatest=_INFINITY, unit="money", of_rows=True),
    )
}
MACRO: Final = "macro_"
"""What the name of a mean over the classes begins with."""
CLASS_METRICS: Final = ("auc", "recall", "precision", "f1")
"""The metrics of a single class, the first against all others; their names end in the class, as `mlflow_names.encode`
writes it: `recall_late`."""
_CLASS_METRIC: Final = re.compile(rf"(?:{'|'.join(CLASS_METRICS)})_([A-Za-z0-9_\-. :]+)")


def is_of_class(name: str) -> bool:
    """True for the name of a metric of a single class."""
    return _CLASS_METRIC.fullmatch(name) is not None


def metric_of(name: str) -> Metric:
    """What is known of a metric.

    Raises:
        KeyError: No task has such a metric.
    """
    found = _CLASS_METRIC.fullmatch(name)
    return Metric(name, "higher", of_class=found[1]) if found else _METRICS[name]


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of model.

    Attributes:
        name: As the spec says it.
        metrics: What can be computed for it, of all rows; `has_metric` knows those of a class, and what costs add.
        reported: The metrics that a page shows beside the primary one and those with a bound.
        primary_metric: By what a candidate is compared when the spec does not say.
        guards: The metrics on which a candidate must not be worse.
        score_column: The output column with what the model computed.
        outputs: The columns of a prediction, in order.
        classifies: True where the target is a class and the score is made of probabilities; else it is a value.
        per_class: True where a row has a score for each class; else it has one number.
        constant: The least and the greatest constant that can stand in for a score; None where none can.
    """

    name: TaskName
    metrics: frozenset[str]
    reported: tuple[str, ...]
    primary_metric: PrimaryMetric
    guards: tuple[str, ...]
    score_column: str
    outputs: tuple[str, ...]
    classifies: bool
    per_class: bool
    constant: tuple[float, float] | None

    def has_metric(self, name: str, *, costs: bool) -> bool:
        """True for a metric of this task, those of single classes too; `costs` says whether the spec gives any."""
        if name in self.metrics or (name == EXPECTED_COST and costs and self.thresholds):
            return True
        return self.per_class and is_of_class(name)

    @property
    def thresholds(self) -> bool:
        """True where a row has one probability, and `prediction` is 1 from a threshold on."""
        return self.classifies and not self.per_class


TASKS: Final[dict[TaskName, Task]] = {
    "binary": Task(
        name="binary",
        metrics=frozenset({"roc_auc", "log_loss", "brier", "accuracy", "calibration_error"}),
        reported=("log_loss", "calibration_error"),
        primary_metric="roc_auc",
        guards=("log_loss", "brier"),
        score_column="probability",
        outputs=("prediction", "probability", "confidence"),
        classifies=True,
        per_class=False,
        constant=(0.0, 1.0),
    ),
    "multiclass": Task(
        name="multiclass",
        metrics=frozenset({"log_loss", "accuracy", "macro_auc", "macro_recall", "macro_f1", "calibration_error"}),
        reported=("log_loss", "accuracy", "macro_recall", "calibration_error"),
        primary_metric="log_loss",
        guards=("log_loss", "accuracy"),
        score_column="probabilities",
        outputs=("prediction", "probabilities", "confidence"),
        classifies=True,
        per_class=True,
        constant=None,
    ),
    "regression": Task(
        name="regression",
        metrics=frozenset({"rmse", "mae", "r2", "bias"}),
        reported=("rmse", "mae", "bias"),
        primary_metric="rmse",
        guards=("rmse", "mae"),
        score_column="prediction",
        outputs=("prediction",),
        classifies=False,
        per_class=False,
        constant=(float("-inf"), float("inf")),
    ),
}
