"""What an estimator is given, and what it leaves: nothing that comes after the fit asks which one it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec.estimators import ClassWeight
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

Doing = Callable[[str, float | None], None]
"""Is told what is about to be done, and how many seconds it may take (None: no limit of its own)."""
Validated = Callable[[int, float], None]
"""Is told the validation loss after each round, from round 1; may raise `Pruned`."""
TRIAL_SECONDS: Final = 120.0
"""An estimator is made and answers a handful of rows in this time, or never."""


class Pruned(BaseException):
    """Ends a fit that promises nothing: no fault of the code that it goes through."""


@dataclass(frozen=True, slots=True)
class FitTask:
    """The rows of a fit, and how it is kept and told.

    Args:
        objective: The task with its classes and weights.
        train: Rows to learn from, targets as they are in the data.
        validation: Rows for early stopping, likewise; None where `rounds` says how long to learn.
        codes: Number of codes of each categorical column.
        rounds: How many rounds an earlier fit of the same recipe has chosen; None where this one chooses.
        configuration: The digest of all that determines the result.
        checkpoint: A file in which the fit may be kept; None keeps none.
        doing: Is told what goes on.
        validated: Is told the validation losses, where the estimator has one a round; None where nobody asks.
    """

    objective: Objective
    train: Rows
    validation: Rows | None
    codes: tuple[int, ...]
    rounds: int | None
    configuration: str
    checkpoint: Path | None
    doing: Doing
    validated: Validated | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model as it is packaged.

    Args:
        graph: ONNX: inputs `numeric` float32 [N, F] with NaN for null and `categorical` int64 [N, C] of category codes
            (left out without columns), output `score` float32 [N] or [N, classes].
        predict: The library's own scores of rows, in the form of `score`.
        tolerance: By how much `score` may differ from them, relative to the largest score (at least 1).
        rounds: How many rounds (epochs, boosting rounds) early stopping has chosen.
        weights: The parameters by name, where the library has them as arrays.
        curves: Losses and the like by their names, a value a round.
        device: Where it was fitted.
    """

    graph: bytes
    predict: Callable[[Rows], np.ndarray]
    tolerance: float
    rounds: int
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    device: str = "cpu"


class Estimator(Protocol):
    """One way to learn a model, made of a project's spec.

    Attributes:
        texts: The project's files that say what is learnt, by their paths: they go into the package.
        identity: What determines the result besides spec, data and the product's code.
        class_weight: Whether rare classes weigh more while it learns.
    """

    texts: Mapping[str, str]
    identity: Mapping[str, Any]
    class_weight: ClassWeight

    def preprocess(self, train: pa.Table) -> Preprocess:
        """Learns the input side from the training table.

        Raises:
            InputError: A column is missing or has an unusable type.
        """
        ...

    def fit(self, task: FitTask) -> Fitted:
        """Fits the model; the same task gives the same graph, byte for byte, on one kind of machine.

        Raises:
            SpecError: The spec, or a file that it names, is not usable; said before anything long is done.
            InputError: Data that cannot be learnt from.
        """
        ...
