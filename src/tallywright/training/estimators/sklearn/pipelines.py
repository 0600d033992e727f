"""Pipelines that end in trees, and searches over them: what their trees compare is what the library's own compare.

Trees behind a transform are exact where the transform is: a value of a grid often lies on a threshold, and the last bit
decides. So such a pipeline gets its matrix in float64, its transforms compute in float64 in the graph as well, and what
they give is rounded to float32 before the trees, in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_ROUNDED: Final = "as_float32"
"""The name of the step before the trees."""
_TREES: Final = ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "GradientBoosting", "HistGradientBoosting")
_BOOSTED: Final = ("LGBM", "XGB", "XGBRF")


def searched(model: Any) -> Any:
    """The model that a search over parameters has fitted; any other as it is."""
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

    found = isinstance(model, GridSearchCV | RandomizedSearchCV) and hasattr(model, "best_estimator_")
    return searched(model.best_estimator_) if found else model


def round_before_trees(model: Any) -> bool:
    """Adds a step to a pipeline that is not fitted and ends in trees; says whether it is one, or a search over one."""
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    if isinstance(model, GridSearchCV | RandomizedSearchCV):
        return round_before_trees(model.estimator)
    if type(model) is not Pipeline or len(model.steps) < 2 or not _is_trees(model.steps[-1][-1]):  # noqa: PLR2004 - a transform and trees
        return False
    step = (_ROUNDED, FunctionTransformer(as_float32, accept_sparse=True))
    model.steps = [*model.steps[:-1], step, model.steps[-1]]
    return True


def split(model: Any) -> tuple[Pipeline, Any] | None:
    """The transforms and the trees of a fitted pipeline with that step; None of anything else."""
    names = [name for name, _ in getattr(model, "steps", ())]
    return (model[:-2], model[-1]) if names[-2:-1] == [_ROUNDED] else None


def as_float32(values: Any) -> Any:
    """The same matrix, dense or sparse, in float32."""
    return values.astype(np.float32)


def _is_trees(model: Any) -> bool:
    name, package = type(model).__name__, type(model).__module__.partition(".")[0]
    starts = _TREES if package == "sklearn" else _BOOSTED
    return any(name in {f"{one}Classifier", f"{one}Regressor"} for one in starts)
