"""Linear models of scikit-learn as a product of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tallywright.training.estimators.model_graph import GraphParts


def linear_nodes(parts: GraphParts, model: Any, matrix: str) -> str | None:
    """The name of the raw outputs [N, outputs] of a fitted linear model; None where it is none that is known here."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge

    if not isinstance(
        model, ElasticNet | Lasso | LinearDiscriminantAnalysis | LinearRegression | LogisticRegression | Ridge
    ):
        return None
    weights = np.atleast_2d(np.asarray(model.coef_)).T
    product = parts.add("MatMul", [matrix, parts.constant("coefficients", weights)], "product")
    return parts.add("Add", [product, parts.constant("intercept", np.atleast_2d(model.intercept_))], "raw")
