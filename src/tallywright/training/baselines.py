"""The baselines of the report: a linear model and boosted trees, estimators like any other, fitted for comparison.

They get the model's own rows and preprocessing, so that a difference is the model's. They are never packaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.spec.estimators import Sklearn
from tallywright.training.estimators.protocol import FitTask
from tallywright.training.estimators.registry import make
from tallywright.training.objective import learn_objective

if TYPE_CHECKING:
    import numpy as np

    from tallywright.spec import Project
    from tallywright.training.estimators.protocol import Doing
    from tallywright.training.matrices import Splits

LINEAR_ITERATIONS: Final = 100
MOST_TREE_CATEGORIES: Final = 255
"""scikit-learn's trees take no more categories in a column; above that the codes are read as numbers."""
BASELINES: Final = ("logistic_regression", "linear_regression", "gradient_boosting")


def baseline_scores(project: Project, splits: Splits, doing: Doing) -> dict[str, np.ndarray]:
    """Each baseline's scores of the holdout, by its name.

    Args:
        project: Its task and columns.
        splits: What to learn from, and the holdout.
        doing: Told what is about to be done.
    """
    spec, rows = project.spec.training, splits.train.rows
    task = FitTask(
        objective=learn_objective(spec.task, rows.target, "none", positive=spec.positive),
        train=rows,
        validation=None,
        codes=splits.codes,
        rounds=None,
        configuration="",
        checkpoint=None,
        doing=doing,
    )
    return {
        name: make(project, section).fit(task).predict(splits.holdout.rows)
        for name, section in _sections(project, splits).items()
    }


def _sections(project: Project, splits: Splits) -> dict[str, Sklearn]:
    """The baselines of a task as estimators of a spec."""
    spec = project.spec.training
    first = len(spec.numeric)
    few = [first + number for number, codes in enumerate(splits.codes) if codes <= MOST_TREE_CATEGORIES]
    kind = "Classifier" if spec.kind.classifies else "Regressor"
    trees = {"path": f"sklearn.ensemble.HistGradientBoosting{kind}", "params": {"categorical_features": few or None}}
    linear = (
        {"path": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": LINEAR_ITERATIONS}}
        if spec.kind.classifies
        else {"path": "sklearn.linear_model.Ridge"}
    )
    name = "logistic_regression" if spec.kind.classifies else "linear_regression"
    values = {name: linear | {"inputs": "normalised"}, "gradient_boosting": trees}
    return {name: Sklearn.model_validate({"kind": "sklearn"} | one) for name, one in values.items()}
