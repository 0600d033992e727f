"""The tasks (binary, multiclass, regression) as records of their properties; no other module compares task names.

The types of a package's output columns (`packaging.manifest`) and the formulas (`metrics`, `training.objective`) stay
where the libraries are that they need; what they have to agree on stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

TaskName = Literal["binary", "multiclass", "regression"]
PrimaryMetric = Literal["roc_auc", "log_loss", "brier", "rmse", "accuracy", "mae", "r2"]

MAX_CLASSES: Final = 1000
"""A model has fewer classes than this many and one."""
NUMBERED: Final = ("0", "1")
"""The classes of a binary model that names none: 1 is the positive one."""

HIGHER_IS_BETTER: Final[dict[str, bool]] = {
    "roc_auc": True,
    "log_loss": False,
    "brier": False,
    "accuracy": True,
    "calibration_error": False,
    "rmse": False,
    "mae": False,
    "r2": True,
}
"""The direction of every metric of every task."""


_INFINITY: Final = float("inf")
METRIC_RANGES: Final[dict[str, tuple[float, float]]] = {
    "roc_auc": (0.0, 1.0),
    "log_loss": (0.0, _INFINITY),
    "brier": (0.0, 1.0),
    "accuracy": (0.0, 1.0),
    "calibration_error": (0.0, 1.0),
    "rmse": (0.0, _INFINITY),
    "mae": (0.0, _INFINITY),
    "r2": (-_INFINITY, 1.0),
}
"""The least and the greatest value of every metric."""


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of model.

    Attributes:
        name: As the spec says it.
        metrics: What can be computed for it.
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
        metrics=frozenset({"log_loss", "accuracy"}),
        reported=("log_loss", "accuracy"),
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
        metrics=frozenset({"rmse", "mae", "r2"}),
        reported=("rmse", "mae"),
        primary_metric="rmse",
        guards=("rmse", "mae"),
        score_column="prediction",
        outputs=("prediction",),
        classifies=False,
        per_class=False,
        constant=(float("-inf"), float("inf")),
    ),
}
