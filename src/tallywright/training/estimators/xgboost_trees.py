"""The estimator `xgboost`: its trees, read from the JSON of a fitted model, as one ONNX graph."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import InputError
from tallywright.spec.estimators import XGBOOST_OBJECTIVES
from tallywright.training.estimators.boosted import BoostedTrees, trees_graph
from tallywright.training.estimators.libraries import (
    errors_of,
    learnt_values,
    plain_matrix,
    scores_of_raw,
    weights_of,
)
from tallywright.training.estimators.protocol import Fitted
from tallywright.training.estimators.tree_graph import LEAF, LT, Tree, with_members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xgboost

    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.estimators.protocol import FitTask, Validated
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective

TOLERANCE: Final = 2e-5
"""Both sum the trees in float32, in another order."""


class XGBoostTrees(BoostedTrees):
    """Gradient-boosted trees of XGBoost.

    Raises:
        SpecError: XGBoost is not installed.
    """

    package, links = "xgboost", XGBOOST_OBJECTIVES
    binary, multiclass, regression = "binary:logistic", "multi:softprob", "reg:squarederror"

    def fit(self, task: FitTask) -> Fitted:
        """Fits with early stopping on validation, or for as many rounds as it is told."""
        rounds, objective, link = task.rounds or self._section.rounds, task.objective, self._link(task.objective)
        task.doing(f"at most {rounds} rounds of XGBoost", None)
        base = self._base(task, link)
        with errors_of("XGBoost"):
            booster, curves = self._booster(task, rounds, base)
        margin = margin_of(base, link, several=objective.kind.per_class)
        trees = list(read_trees(bytes(booster.save_raw("json"))))
        return Fitted(
            graph=trees_graph(trees, objective, task.train, link, (margin,) * objective.outputs),
            predict=lambda rows: scores_of_raw(objective, _raw(booster, rows), link),
            tolerance=TOLERANCE,
            rounds=booster.num_boosted_rounds(),
            curves=curves,
        )

    def _booster(self, task: FitTask, rounds: int, base: float) -> tuple[xgboost.Booster, dict[str, tuple[float, ...]]]:
        import xgboost

        history: dict[str, dict[str, list[float]]] = {}
        train = _matrix(task.train, task.objective)
        sets, callbacks = [(train, "train")], []
        if task.validation is not None:
            sets.append((_matrix(task.validation, task.objective), "validation"))
            stop = xgboost.callback.EarlyStopping(rounds=self._section.patience, data_name="validation", save_best=True)
            callbacks += [stop] if task.validated is None else [_told(task.validated), stop]
        booster = xgboost.train(
            self._params(task, base),
            train,
            num_boost_round=rounds,
            evals=sets,
            evals_result=history,
            callbacks=callbacks,
            verbose_eval=False,
        )
        curves = {f"{name}_loss": tuple(next(reversed(metrics.values()))) for name, metrics in history.items()}
        return booster, curves

    def _params(self, task: FitTask, base: float) -> dict[str, Any]:
        return {
            **self._told(task.objective),
            "base_score": base,
            # Sums of gradients that are split over threads depend on their number.
            "nthread": 1,
            "device": "cpu",
            "verbosity": 0,
        }

    def _base(self, task: FitTask, link: Link) -> float:
        """What the trees start from, in the unit of the output, exact in float32."""
        if task.objective.kind.per_class:
            return 0.0
        if task.objective.kind.thresholds:
            return 0.5
        mean = float(np.float32(task.train.target.astype(np.float64).mean()))
        if link == "exp" and not mean > 0:
            raise InputError(
                f"the mean of the training target is {mean:g}",
                expected=f"positive values, for the objective {self._section.params['objective']}",
                remedy="choose another objective under training.estimator.params",
            )
        return mean


def _told(validated: Validated) -> xgboost.callback.TrainingCallback:
    """A callback that passes on the validation loss of each round."""
    import xgboost

    class Told(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, _model: Any, epoch: int, evals_log: Any) -> bool:
            validated(epoch + 1, float(next(reversed(evals_log["validation"].values()))[-1]))
            return False

    return Told()


def margin_of(base: float, link: Link, *, several: bool) -> float:
    """The start of a raw output, one of `several` or the only one: the model keeps it in the unit of the prediction."""
    if several or link == "identity":
        return base
    return math.log(base) if link == "exp" else math.log(base / (1 - base))


def _matrix(rows: Rows, objective: Objective | None = None) -> xgboost.DMatrix:
    """Rows as XGBoost reads them; with an objective, their labels too."""
    import xgboost

    values = None if objective is None else learnt_values(objective, rows.target)
    return xgboost.DMatrix(
        plain_matrix(rows),
        label=values,
        weight=None if objective is None or values is None else weights_of(objective, values),
        feature_types=["float"] * rows.numeric.shape[1] + ["c"] * rows.categorical.shape[1],
        enable_categorical=True,
    )


def _raw(booster: xgboost.Booster, rows: Rows) -> np.ndarray:
    raw = np.asarray(booster.predict(_matrix(rows), output_margin=True), dtype=np.float64)
    return raw.reshape(len(raw), -1)


def read_trees(model: bytes) -> Iterator[Tree]:
    """The trees of a model's JSON, in order, each with its target."""
    yield from trees_of(json.loads(model)["learner"]["gradient_booster"]["model"])


def trees_of(booster: Mapping[str, Any]) -> Iterator[Tree]:
    """The trees of a booster, in order, each with its target."""
    for tree, target in zip(booster["trees"], booster["tree_info"], strict=True):
        yield _tree(tree, target)


def _tree(tree: dict[str, Any], target: int) -> Tree:
    """A tree of its arrays; a node without a left child is a leaf, whose value stands in place of the threshold."""
    left, right = (np.array(tree[name], dtype=np.int64) for name in ("left_children", "right_children"))
    leaf, conditions = left < 0, np.array(tree["split_conditions"], dtype=np.float32)
    made = Tree(
        mode=np.where(leaf, LEAF, LT).astype(np.uint8),
        feature=np.where(leaf, 0, np.array(tree["split_indices"], dtype=np.int64)),
        threshold=np.where(leaf, np.float32(0), conditions),
        true=np.where(leaf, 0, left),
        false=np.where(leaf, 0, right),
        missing=np.array(tree["default_left"], dtype=bool) & ~leaf,
        values=np.where(leaf, conditions, np.float32(0)).astype(np.float64).reshape(-1, 1),
        target=target,
    )
    sets = _sets(tree)
    for node in sets:
        # A code that is in the set goes right.
        made.true[node], made.false[node] = right[node], left[node]
    return with_members(made, sets)


def _sets(tree: dict[str, Any]) -> dict[int, list[int]]:
    """The codes of each node that asks for a category."""
    codes = tree["categories"]
    segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {node: codes[start : start + size] for node, start, size in segments}
