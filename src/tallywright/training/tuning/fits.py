"""The fits of trials: on the training days, judged on the validation days. No other row is at hand here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.spec.tuning import with_values
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.estimators.registry import make
from tallywright.training.evaluate import compared_by, measure_validation
from tallywright.training.matrices import codes_of, make_split
from tallywright.training.objective import learn_objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.spec.estimators import EstimatorSpec
    from tallywright.training.estimators.protocol import Doing, Validated
    from tallywright.training.recipe import Recipe

SEARCHED: Final = ("train", "validation")
"""The splits that a search is given."""


class TrialFits:
    """Fits an estimator with other parameters, again and again, on the same rows.

    Args:
        recipe: Of the estimator.
        section: It, as the spec describes it.
        tables: The rows of `SEARCHED`.
    """

    def __init__(self, recipe: Recipe, section: EstimatorSpec, tables: Mapping[str, pa.Table]) -> None:
        self._project, self._section = recipe.project, section
        spec, preprocess = self._project.spec.training, recipe.estimator.preprocess(tables["train"])
        self._train, self._validation = (make_split(spec, preprocess, tables[name]).rows for name in SEARCHED)
        self._codes = codes_of(preprocess)
        self._objective = learn_objective(
            spec.task, self._train.target, recipe.estimator.class_weight, positive=spec.positive
        )

    @property
    def metric(self) -> str:
        """By which trials are compared: the gate's metric, where these rows define it."""
        rows, outputs = len(self._validation.target), self._objective.outputs
        shape = (rows, outputs) if self._objective.kind.per_class else (rows,)
        even = self._measured(np.full(shape, 1 / max(outputs, 2), dtype=np.float32))
        return compared_by(self._project.spec, even)

    def fit(self, values: Mapping[str, Any], validated: Validated, doing: Doing) -> tuple[dict[str, float], int]:
        """The figures on validation of a fit with these values, and its rounds.

        Raises:
            ValidationError: Values that no estimator can have together.
            SpecError: Values that the library refuses.
            InputError: Data that cannot be learnt from with these values.
        """
        estimator = make(self._project, with_values(self._section, values))
        fitted = estimator.fit(
            FitTask(
                objective=self._objective,
                train=self._train,
                validation=self._validation,
                codes=self._codes,
                rounds=None,
                configuration="",
                checkpoint=None,
                doing=doing,
                validated=validated,
            )
        )
        return self._measured(fitted.predict(self._validation)), fitted.rounds

    def _measured(self, scores: np.ndarray) -> dict[str, float]:
        return measure_validation(self._project.spec, self._objective, self._validation.target, scores)
