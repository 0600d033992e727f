"""The trees of fitted scikit-learn models as arrays: single trees, forests, both kinds of gradient boosting.

The histogram gradient boosting keeps its trees in private attributes; the parity check of every training holds what is
read here against the model's own prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.training.estimators.tree_graph import LEAF, LEQ, Tree, rounded_down, with_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.training.estimators.model_graph import Link

_HISTOGRAM_LINKS: Final[dict[str, Link]] = {
    **dict.fromkeys(("squared_error", "absolute_error", "quantile"), "identity"),
    **dict.fromkeys(("poisson", "gamma"), "exp"),
    "log_loss": "logistic",
}


@dataclass(frozen=True, slots=True)
class TreeModel:
    """Trees whose sum is a model's raw output.

    Args:
        trees: In the order of the model.
        base: What is added to each target.
        link: How raw outputs become scores; None where their sum is the mean of shares or of values itself.
    """

    trees: list[Tree]
    base: tuple[float, ...]
    link: Link | None


def trees_of(model: Any, codes: Sequence[int]) -> TreeModel | None:
    """The trees of a fitted model; None where it is none of trees that are known here.

    Args:
        model: A classifier of the classes 0, 1, …, or a regressor.
        codes: Number of codes of each categorical column, which are the last ones.
    """
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if isinstance(model, DecisionTreeClassifier | DecisionTreeRegressor):
        return _forest([model])
    if isinstance(model, RandomForestClassifier | RandomForestRegressor | ExtraTreesClassifier | ExtraTreesRegressor):
        return _forest(model.estimators_)
    if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return _histogram(model, codes)
    if isinstance(model, GradientBoostingClassifier | GradientBoostingRegressor):
        return _boosted(model)
    return None


def _forest(models: Sequence[Any]) -> TreeModel:
    """The mean of trees with shares (or values) in their leaves."""
    trees = []
    for one in models:
        values = one.tree_.value[:, 0, :]
        if hasattr(one, "classes_"):
            values = values / values.sum(axis=1, keepdims=True)
        trees.append(_tree(one.tree_, values / len(models)))
    return TreeModel(trees, (0.0,) * trees[0].values.shape[1], None)


def _boosted(model: Any) -> TreeModel | None:
    """Trees that are added to a constant; None where they are added to another model, or another loss is used."""
    if model.init not in (None, "zero") or model.loss not in ("log_loss", "squared_error", "absolute_error", "huber"):
        return None
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0]  # noqa: SLF001
    trees = [
        _tree(one.tree_, one.tree_.value[:, 0, :] * model.learning_rate, target)
        for stage in model.estimators_
        for target, one in enumerate(stage)
    ]
    return TreeModel(trees, tuple(map(float, start)), "logistic" if model.loss == "log_loss" else "identity")


def _tree(tree: Any, values: np.ndarray, target: int = 0) -> Tree:
    leaf = tree.children_left < 0
    return Tree(
        mode=np.where(leaf, LEAF, LEQ).astype(np.uint8),
        feature=np.where(leaf, 0, tree.feature).astype(np.int64),
        threshold=np.where(leaf, np.float32(0), rounded_down(np.where(leaf, 0.0, tree.threshold))),
        true=np.where(leaf, 0, tree.children_left).astype(np.int64),
        false=np.where(leaf, 0, tree.children_right).astype(np.int64),
        missing=tree.missing_go_to_left.astype(bool) & ~leaf,
        values=values,
        target=target,
    )


def _histogram(model: Any, codes: Sequence[int]) -> TreeModel | None:
    loss = str(getattr(model, "loss", ""))
    if loss not in _HISTOGRAM_LINKS:
        return None
    columns = _Columns.of(model, codes)
    if columns is None:
        return None
    trees = [
        _histogram_tree(predictor, columns, target)
        for stage in model._predictors  # noqa: SLF001 - there is no other way to them
        for target, predictor in enumerate(stage)
    ]
    return TreeModel(trees, tuple(model._baseline_prediction.reshape(-1).tolist()), _HISTOGRAM_LINKS[loss])  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class _Columns:
    """The model's own order of columns, in which categorical ones come first and their codes have numbers.

    Args:
        places: The place of each of its columns in the matrix.
        known: The codes that each categorical column was seen to have, in the order of their numbers.
        most: How many codes such a column can have.
    """

    places: np.ndarray
    known: tuple[np.ndarray, ...]
    most: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, codes: Sequence[int]) -> _Columns | None:
        """The columns of a model; None where it takes a numeric one for categorical."""
        count = model.n_features_in_
        if model._preprocessor is None:  # noqa: SLF001 - as above
            return cls(np.arange(count), (), ())
        categorical = np.flatnonzero(model.is_categorical_)
        encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - as above
        places = np.concatenate([categorical, np.flatnonzero(~model.is_categorical_)])
        if (categorical < count - len(codes)).any():
            return None
        most = tuple(codes[place - (count - len(codes))] for place in categorical)
        return cls(places, tuple(encoder.categories_), most)


def _histogram_tree(predictor: Any, columns: _Columns, target: int) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    made = Tree(
        mode=np.where(leaf, LEAF, LEQ).astype(np.uint8),
        feature=columns.places[np.where(leaf, 0, nodes["feature_idx"])].astype(np.int64),
        threshold=np.where(leaf, np.float32(0), rounded_down(np.where(leaf, 0.0, nodes["num_threshold"]))),
        true=np.where(leaf, 0, nodes["left"]).astype(np.int64),
        false=np.where(leaf, 0, nodes["right"]).astype(np.int64),
        missing=nodes["missing_go_to_left"].astype(bool) & ~leaf,
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
        target=target,
    )
    sets = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        column = int(nodes["feature_idx"][node])
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        known = columns.known[column]
        left = [int(code) for number, code in enumerate(known) if words[number // 32] >> (number % 32) & 1]
        if nodes["missing_go_to_left"][node]:
            left += sorted(set(range(columns.most[column])) - set(map(int, known)))
        sets[node] = left
    return with_members(made, sets)
