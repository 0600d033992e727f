"""The estimators by their kind; a new one is a module with a class, and a line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from tallywright.spec.estimators import named

if TYPE_CHECKING:
    from tallywright.spec import Project
    from tallywright.spec.estimators import EstimatorSpec
    from tallywright.training.estimators.protocol import Estimator

_HOME: Final = "tallywright.training.estimators"
ESTIMATORS: Final = {
    "torch": "torch_network:TorchNetwork",
    "lightgbm": "lightgbm_trees:LightGBMTrees",
    "xgboost": "xgboost_trees:XGBoostTrees",
    "sklearn": "sklearn.model:SklearnModel",
    "onnx": "ready_graph:ReadyGraph",
}
"""Kind to module and class; imported where it is used, as each has its own heavy package."""


def estimators_of(project: Project) -> dict[str, Estimator]:
    """The estimators of a project's spec by their names in the report.

    Raises:
        SpecError: A package is not installed, or a file that the spec names is not usable.
    """
    return {named(one): make(project, one) for one in project.spec.training.estimators}


def make(project: Project, section: EstimatorSpec) -> Estimator:
    """The estimator that a section of a project's spec describes."""
    module, _, name = ESTIMATORS[section.kind].partition(":")
    made: Estimator = getattr(importlib.import_module(f"{_HOME}.{module}"), name)(project, section)
    return made
