"""The estimator `lightgbm`: its trees, read from the text of a fitted model, as one ONNX graph."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.spec.estimators import LIGHTGBM_OBJECTIVES
from tallywright.training.estimators.boosted import BoostedTrees, trees_graph
from tallywright.training.estimators.libraries import (
    errors_of,
    learnt_values,
    plain_matrix,
    scores_of_raw,
    weights_of,
)
from tallywright.training.estimators.protocol import Fitted
from tallywright.training.estimators.tree_graph import (
    LEAF,
    LEQ,
    Tree,
    leaf_tree,
    rounded_down,
    with_members,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import lightgbm

    from tallywright.training.estimators.protocol import FitTask, Validated
    from tallywright.training.matrices import Rows

TOLERANCE: Final = 2e-5
"""ONNX Runtime sums the trees in float32, LightGBM in float64."""
_MANY_ROWS: Final = 100_000
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_SHIFT, _MISSING_NAN = 2, 2


class LightGBMTrees(BoostedTrees):
    """Gradient-boosted trees of LightGBM.

    Raises:
        SpecError: LightGBM is not installed.
    """

    package, links = "lightgbm", LIGHTGBM_OBJECTIVES
    binary, multiclass, regression = "binary", "multiclass", "regression"

    def fit(self, task: FitTask) -> Fitted:
        """Fits with early stopping on validation, or for as many rounds as it is told."""
        rounds = task.rounds or self._section.rounds
        task.doing(f"at most {rounds} rounds of LightGBM", None)
        with errors_of("LightGBM"):
            booster, curves = self._booster(task, rounds)
        chosen = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
        link = self._link(task.objective)
        trees = list(read_trees(booster.model_to_string(num_iteration=chosen), task.objective.outputs))
        return Fitted(
            graph=trees_graph(trees, task.objective, task.train, link),
            predict=lambda rows: scores_of_raw(task.objective, _raw(booster, rows, chosen), link),
            tolerance=TOLERANCE,
            rounds=chosen,
            curves=curves,
        )

    def _booster(self, task: FitTask, rounds: int) -> tuple[lightgbm.Booster, dict[str, tuple[float, ...]]]:
        import lightgbm

        history: dict[str, Any] = {}
        train = self._dataset(task, task.train)
        sets, names = [train], ["train"]
        callbacks = [lightgbm.record_evaluation(history)]
        if task.validation is not None:
            sets.append(self._dataset(task, task.validation, reference=train))
            names.append("validation")
            if task.validated is not None:
                callbacks.append(_told(task.validated))
            callbacks.append(lightgbm.early_stopping(self._section.patience, first_metric_only=True, verbose=False))
        booster = lightgbm.train(
            self._params(task), train, num_boost_round=rounds, valid_sets=sets, valid_names=names, callbacks=callbacks
        )
        curves = {f"{name}_loss": tuple(next(iter(metrics.values()))) for name, metrics in history.items()}
        return booster, curves

    def _dataset(self, task: FitTask, rows: Rows, reference: Any = None) -> lightgbm.Dataset:
        import lightgbm

        values = learnt_values(task.objective, rows.target)
        first, count = rows.numeric.shape[1], rows.categorical.shape[1]
        return lightgbm.Dataset(
            plain_matrix(rows),
            values,
            weight=weights_of(task.objective, values),
            reference=reference,
            categorical_feature=list(range(first, first + count)),
            params={"verbosity": -1},
        )

    def _params(self, task: FitTask) -> dict[str, Any]:
        return {
            **self._told(task.objective),
            # Then the same data give the same trees, on any number of threads (tested).
            "deterministic": True,
            "num_threads": threads_for(task.train),
            "force_row_wise": True,
            "verbosity": -1,
        }


def _told(validated: Validated) -> Callable[[Any], None]:
    """A callback that passes on the validation loss of each round."""

    def told(state: Any) -> None:
        loss = next(result[2] for result in state.evaluation_result_list if result[0] == "validation")
        validated(state.iteration + 1, float(loss))

    return told


def threads_for(rows: Rows) -> int:
    """One thread for few rows: on a busy machine threads that wait for one another cost more than they bring."""
    return 1 if rows.numeric.shape[0] < _MANY_ROWS else os.cpu_count() or 1


def _raw(booster: lightgbm.Booster, rows: Rows, rounds: int) -> np.ndarray:
    raw = np.asarray(booster.predict(plain_matrix(rows), raw_score=True, num_iteration=rounds, num_threads=1))
    return raw.reshape(len(raw), -1)


def read_trees(text: str, outputs: int) -> Iterator[Tree]:
    """The trees in the text of a model, in order; `outputs` of them make a round."""
    blocks = text.split("\nend of trees", maxsplit=1)[0].split("\nTree=")[1:]
    for number, block in enumerate(blocks):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        yield _tree(fields, number % outputs)


def _tree(fields: dict[str, str], target: int) -> Tree:
    """A tree of its arrays: inner nodes first, then leaves; children below 0 are leaves, ~child their numbers."""
    leaves = _numbers(fields["leaf_value"])
    if int(fields["num_leaves"]) == 1:
        return leaf_tree([float(leaves[0])], target)
    thresholds, kinds = _numbers(fields["threshold"]), _numbers(fields["decision_type"], np.int64)
    inner, nothing = len(thresholds), np.zeros(len(leaves), dtype=np.int64)
    left, right = (_numbers(fields[name], np.int64) for name in ("left_child", "right_child"))
    left, right = (np.where(child < 0, inner + ~child, child) for child in (left, right))
    # A column without nulls at the training reads null as 0.
    way = (kinds >> _MISSING_SHIFT) & 3
    missing = np.where(way == _MISSING_NAN, (kinds & _DEFAULT_LEFT) > 0, thresholds >= 0)
    tree = Tree(
        mode=np.concatenate([np.full(inner, LEQ), np.full(len(leaves), LEAF)]).astype(np.uint8),
        feature=np.concatenate([_numbers(fields["split_feature"], np.int64), nothing]),
        threshold=np.concatenate([rounded_down(thresholds), nothing.astype(np.float32)]),
        true=np.concatenate([left, nothing]),
        false=np.concatenate([right, nothing]),
        missing=np.concatenate([missing, nothing.astype(bool)]),
        values=np.concatenate([np.zeros(inner), leaves]).reshape(-1, 1),
        target=target,
    )
    sets = {}
    for node in np.flatnonzero(kinds & _CATEGORICAL).tolist():
        sets[node] = _members(fields, int(thresholds[node]))
    return with_members(tree, sets)


def _members(fields: dict[str, str], number: int) -> list[int]:
    """The codes of a set that is kept as bits of 32-bit words."""
    bounds = _numbers(fields["cat_boundaries"], np.int64)
    words = _numbers(fields["cat_threshold"], np.int64)[bounds[number] : bounds[number + 1]]
    return [32 * at + bit for at, word in enumerate(words.tolist()) for bit in range(32) if word >> bit & 1]


def _numbers(text: str, kind: Any = np.float64) -> np.ndarray:
    return np.array(text.split(" "), dtype=kind)
