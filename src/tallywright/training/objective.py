"""The objective of each task: classes, class weights, scale, and how targets become what an estimator learns.

One place knows the difference between binary, multiclass and regression, so that estimators and the evaluation do not.
Class weights steer the fit only: their effect on the odds is taken out again inside the exported graph, so a balanced
fit still gives calibrated probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tallywright.errors import InputError
from tallywright.labels import allowed_labels
from tallywright.tasks import MAX_CLASSES, TASKS, Task, TaskName


@dataclass(frozen=True, slots=True)
class Objective:
    """What one task learns, as found in the training targets.

    Args:
        task: The task of the spec.
        classes: The target values in the order of the scores: sorted, the positive one of two last; empty for
            regression.
        weights: Weight of each class in the loss; all one when classes are not balanced.
        location: Mean of the training targets (regression).
        scale: Standard deviation of the training targets (regression).
    """

    task: TaskName
    classes: tuple[int, ...] | tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    location: float = 0.0
    scale: float = 1.0

    @property
    def kind(self) -> Task:
        """What the task means."""
        return TASKS[self.task]

    @property
    def outputs(self) -> int:
        """The number of raw outputs of a row."""
        return len(self.classes) if self.kind.per_class else 1

    @property
    def shifts(self) -> tuple[float, ...]:
        """What the class weights add to the logit of each class; empty where they change nothing."""
        if not self.kind.classifies or len(set(self.weights)) == 1:
            return ()
        return tuple(float(shift) for shift in np.log(np.asarray(self.weights)))

    @property
    def recorded(self) -> dict[str, Any]:
        """What was learnt from the training targets, for the record: it turns raw outputs into scores."""
        return {"weights": list(self.weights), "location": self.location, "scale": self.scale}

    def encode(self, target: np.ndarray) -> np.ndarray:
        """The targets as the loss wants them: 0/1 or standardised float32, or class numbers.

        Raises:
            InputError: A class that the training rows do not have.
        """
        if not self.kind.classifies:
            return ((target.astype(np.float64) - self.location) / self.scale).astype(np.float32)
        codes = self._codes(target)
        unknown = codes < 0
        if unknown.any():
            raise InputError(
                f"the target has values {np.unique(target[unknown])[:5].tolist()}",
                expected=f"the classes of the training rows: {list(self.classes)[:20]}",
                remedy="lengthen training.window_days so that each class is in the window, or correct the labels",
            )
        return codes.astype(np.float32 if self.kind.thresholds else np.int64)

    def numbered(self, target: np.ndarray) -> np.ndarray:
        """The targets as metrics read them: as `encode`, with -1 for a class that is unknown, or the plain values."""
        return self._codes(target) if self.kind.classifies else target

    def _codes(self, target: np.ndarray) -> np.ndarray:
        """The place of each target among the classes; -1 for one that is none of them."""
        classes = np.asarray(self.classes)
        order = np.argsort(classes, kind="stable")
        places = order[np.searchsorted(classes, target, sorter=order).clip(max=len(classes) - 1)]
        return np.where(classes[places] == target, places, -1)


def learn_objective(
    task: TaskName, target: np.ndarray, class_weight: Literal["none", "balanced"], *, positive: str = ""
) -> Objective:
    """The objective for these training targets.

    Args:
        task: The task of the spec.
        target: The targets as they are in the data: numbers or texts.
        class_weight: Whether rare classes weigh more.
        positive: The positive class that the spec names; 1 where it names none.

    Raises:
        InputError: Targets that the task cannot learn: not finite, not 0/1, one class only, not whole numbers.
    """
    if target.dtype.kind != "U" and not np.isfinite(target.astype(np.float64)).all():
        raise InputError("the training target has values that are not finite", expected="finite numbers in every row")
    if not TASKS[task].classifies:
        if target.dtype.kind == "U":
            raise _unlearnable(task, np.unique(target), positive)
        spread = float(target.astype(np.float64).std())
        return Objective(task, location=float(target.astype(np.float64).mean()), scale=spread or 1.0)
    classes, counts = np.unique(target, return_counts=True)
    _require_classes(task, classes, positive)
    if positive and _name(classes[0]) == positive:
        classes, counts = classes[::-1], counts[::-1]
    weights = len(target) / (len(classes) * counts) if class_weight == "balanced" else np.ones(len(classes))
    named = tuple(str(value) for value in classes) if target.dtype.kind == "U" else tuple(int(one) for one in classes)
    return Objective(task, named, tuple(float(weight) for weight in weights))


def _require_classes(task: TaskName, classes: np.ndarray, positive: str) -> None:
    """Checks that there are two classes, one of them the positive one; or several texts or whole numbers."""
    texts = classes.dtype.kind == "U"
    if TASKS[task].thresholds:
        names = {_name(one) for one in classes}
        good = len(names) == 2 and (positive in names if positive else names == {"0", "1"} and not texts)  # noqa: PLR2004 - two
    else:
        numbered = texts or bool(np.isin(classes, range(MAX_CLASSES)).all())
        good = numbered and 2 <= len(classes) <= MAX_CLASSES  # noqa: PLR2004 - one class cannot be learnt
    if not good:
        raise _unlearnable(task, classes, positive)


def _unlearnable(task: TaskName, classes: np.ndarray, positive: str) -> InputError:
    found = classes[:5].tolist()
    allowed = allowed_labels(TASKS[task], positive)
    return InputError(
        f"the target of a {task} task has the values {found}{' …' if len(classes) > len(found) else ''}",
        expected=f"both {allowed}" if TASKS[task].thresholds else f"{allowed}, at least two of them",
        remedy="correct training.target, training.task or training.positive, or lengthen training.window_days",
    )


def _name(value: object) -> str:
    """The name of a class: a text as it is, a number without a point."""
    return str(value) if isinstance(value, str) else f"{value:g}"
