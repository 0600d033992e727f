"""Baselines for comparison with the network: a linear model and gradient-boosted trees, on the same rows.

Both get the model's own input matrices, so a difference is the model's and never the preparation's. They are fitted
for comparison only and never packaged.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.training.network import CLIP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.training.loop import Rows
    from tallywright.training.network import Scaling
    from tallywright.training.objective import Objective

LINEAR_ITERATIONS: Final = 100
_SEEDS: Final = 2**32
"""scikit-learn's seeds are smaller than this."""
MOST_TREE_CATEGORIES: Final = 255
"""scikit-learn's trees take no more categories in a column; above that the codes are read as numbers."""


def linear_scores(
    objective: Objective, scaling: Scaling, categories: Sequence[int], train: Rows, rows: Rows
) -> np.ndarray:
    """Scores of a logistic (or ridge) regression on normalised columns, missing indicators and one-hot categories."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    with warnings.catch_warnings(), _one_thread():
        # A baseline that has not quite converged is still one; the steps are bounded to keep training short.
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        fitted: Any = LogisticRegression(max_iter=LINEAR_ITERATIONS) if objective.kind.classifies else Ridge()
        fitted.fit(_design(scaling, categories, train), train.target)
        return _scores(objective, fitted, _design(scaling, categories, rows))


def tree_scores(objective: Objective, categories: Sequence[int], train: Rows, rows: Rows, seed: int) -> np.ndarray:
    """Scores of scikit-learn's histogram gradient boosting at its defaults, nulls and categories as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if objective.kind.classifies else HistGradientBoostingRegressor
    first = train.numeric.shape[1]
    few = [first + number for number, codes in enumerate(categories) if codes <= MOST_TREE_CATEGORIES]
    fitted = kind(random_state=seed % _SEEDS, categorical_features=few or None)
    with _one_thread():
        fitted.fit(_matrix(train), train.target)
        return _scores(objective, fitted, _matrix(rows))


def _one_thread() -> Any:
    # The figures then do not depend on the number of cores, and busy machines lose no time to waiting threads.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _scores(objective: Objective, fitted: Any, matrix: Any) -> np.ndarray:
    if not objective.kind.classifies:
        return np.asarray(fitted.predict(matrix) * objective.scale + objective.location)
    shares = np.asarray(fitted.predict_proba(matrix))
    return shares if objective.kind.per_class else shares[:, 1]


def _matrix(rows: Rows) -> np.ndarray:
    finite = np.where(np.isinf(rows.numeric), np.nan, rows.numeric)
    return np.hstack([finite, rows.categorical.astype(np.float32)])


def _design(scaling: Scaling, categories: Sequence[int], rows: Rows) -> Any:
    from scipy import sparse

    null = np.isnan(rows.numeric)
    scaled = np.where(null, 0, np.clip((rows.numeric - scaling.mean) / scaling.spread, -CLIP, CLIP))
    dense = np.hstack([scaled, null[:, list(scaling.missing)]]).astype(np.float32)
    every = np.arange(len(rows.target) + 1)
    hot = [
        sparse.csr_matrix(
            (np.ones(len(rows.target), dtype=np.float32), rows.categorical[:, number], every), (len(rows.target), codes)
        )
        for number, codes in enumerate(categories)
    ]
    if sum(categories) <= MOST_TREE_CATEGORIES:
        return np.hstack([dense, *(part.toarray() for part in hot)])
    return sparse.hstack([sparse.csr_matrix(dense), *hot], format="csr")
