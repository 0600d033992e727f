"""The estimator `sklearn`: a classifier or regressor by its import path, with its parameters.

Models of trees are converted here, so that no row falls on another side of a threshold; all others by skl2onnx, whose
graph is compared with the library on a handful of rows before the training.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import SpecError
from tallywright.packaging.preprocess import fit_preprocess
from tallywright.training.estimators.libraries import (
    errors_of,
    learnt_values,
    plain_matrix,
    quiet,
    require_installed,
    weights_of,
)
from tallywright.training.estimators.model_graph import GraphParts
from tallywright.training.estimators.protocol import TRIAL_SECONDS, Fitted
from tallywright.training.estimators.sklearn.alike import require_alike
from tallywright.training.estimators.sklearn.boosted import boosted_trees_of
from tallywright.training.estimators.sklearn.classes import made_of
from tallywright.training.estimators.sklearn.conversion import converted_nodes, transformed_nodes
from tallywright.training.estimators.sklearn.folds import fit_folds, newest
from tallywright.training.estimators.sklearn.linear import linear_nodes
from tallywright.training.estimators.sklearn.pipelines import round_before_trees, searched, split
from tallywright.training.estimators.sklearn.trees import trees_of
from tallywright.training.estimators.tree_graph import ensemble_node
from tallywright.training.scaling import learn_scaling, normalised, require_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec import Project
    from tallywright.spec.estimators import Sklearn
    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective
    from tallywright.training.scaling import Scaling

TOLERANCE: Final = 1e-4
"""Converted models compute in float32, scikit-learn in float64; trees are exact but for their sum."""
_SEEDS: Final = 2**32
"""scikit-learn's seeds are smaller than this."""
_TRIAL_ROWS: Final = 400
_TRIAL_CLASS_ROWS: Final = 20
"""Of each class, and of each column with a value and with a null, however far into the window these begin."""
_TRIAL_ROUNDS: Final = 5
_ROUNDS: Final = ("n_estimators", "max_iter")


class SklearnModel:
    """A model of scikit-learn, or of a library with its interface.

    Raises:
        SpecError: No such class or parameter, or a package is not installed.
    """

    def __init__(self, project: Project, section: Sklearn) -> None:
        package = section.path.partition(".")[0]
        require_installed(package, section.kind)
        self._spec, self._section = project.spec.training, section
        self._model()
        self.texts: Mapping[str, str] = {}
        self.identity: Mapping[str, Any] = {package: importlib.import_module(package).__version__}
        self.class_weight = section.class_weight

    def preprocess(self, train: pa.Table) -> Preprocess:
        """Learns the categories from the training table."""
        return fit_preprocess(train, self._spec.numeric, self._spec.categorical, self._spec.min_category_rows)

    def fit(self, task: FitTask) -> Fitted:
        """Fits and converts a small model on a handful of rows, and then the whole one on all of them.

        What cannot be converted, or only to a graph with other scores, is found before hours are spent. Every estimator
        of a list has to pass this; parity on the whole holdout is asked of the one alone that is packaged.
        """
        view = _View.of(
            task,
            self._spec.numeric,
            normalise=self._section.inputs == "normalised",
            double=round_before_trees(made_of(self._section.path, self._section.params)),
        )
        task.doing(f"trying {self._section.path} on a handful of rows", TRIAL_SECONDS)
        small, rows = self._model(), _few(task)
        few = {name: _TRIAL_ROUNDS for name in _ROUNDS if name in small.get_params(deep=False)}
        tried = self._fitted(replace(task, train=rows), small.set_params(**few), view)
        with quiet():
            require_alike(tried, rows, self._section.path)
        task = replace(task, train=newest(task.train, self._section.max_rows))
        task.doing(f"fitting {self._section.path}", None)
        return self._folded(task, view) if self._section.folds > 1 else self._fitted(task, self._model(), view)

    def _folded(self, task: FitTask, view: _View) -> Fitted:
        def fitted(rows: Rows, number: int) -> Any:
            values = view.values(rows.target)
            weights = weights_of(task.objective, values)
            model = self._model(self._spec.seed + number)
            return model.fit(view.matrix(rows), values, **self._weight_argument(model, weights))

        with errors_of(self._section.path), quiet():
            found = fit_folds(task, self._section.folds, self._spec.seed % _SEEDS, fitted)
            graph = found.graph(task.train.numeric.shape[1], len(task.codes))
        return Fitted(graph=graph, predict=found.predict, tolerance=TOLERANCE, rounds=1)

    def _fitted(self, task: FitTask, model: Any, view: _View) -> Fitted:
        values = view.values(task.train.target)
        weights = weights_of(task.objective, values)
        try:
            with errors_of(self._section.path), quiet():
                model.fit(view.matrix(task.train), values, **self._weight_argument(model, weights))
        except SpecError:
            # Some libraries refuse a column without values in words that do not name it.
            require_values(task.train.numeric, self._spec.numeric)
            raise
        self._require_scores(model)
        return Fitted(
            graph=self._graph(task, model, view),
            predict=partial(_scores, task.objective, model, view),
            tolerance=TOLERANCE,
            rounds=1,
        )

    def _weight_argument(self, model: Any, weights: np.ndarray | None) -> dict[str, Any]:
        if weights is None:
            return {}
        if hasattr(model, "steps"):
            return {f"{model.steps[-1][0]}__sample_weight": weights}
        if "sample_weight" not in inspect.signature(model.fit).parameters:
            raise SpecError(
                f"{self._section.path} takes no weights of rows",
                expected="an estimator whose `fit` takes `sample_weight`, for class_weight: balanced",
                remedy="take class_weight out, or use another estimator",
            )
        return {"sample_weight": weights}

    def _graph(self, task: FitTask, model: Any, view: _View) -> bytes:
        objective, numeric = task.objective, task.train.numeric.shape[1]
        parts = GraphParts(numeric, len(task.codes))
        matrix = view.nodes(parts)
        raw, link = self._raw(parts, model, matrix, view)
        if not objective.kind.classifies:
            view.ending(parts, parts.linked(raw, link or "identity"))
        elif link is None:
            parts.score_of_shares(raw, objective)
        else:
            parts.score_of_raw(raw, objective, link)
        return parts.model(objective.outputs)

    def _raw(self, parts: GraphParts, model: Any, matrix: str, view: _View) -> tuple[str, Link | None]:
        """The name of a model's raw outputs and their link; of its shares or values where that is None."""
        model = searched(model)
        parted = split(model)
        if parted is not None:
            transforms, model = parted
            matrix = transformed_nodes(parts, transforms, (matrix, view.width), self._section.path)
        codes = () if parted is not None or view.scaling is not None else view.codes
        trees = trees_of(model, codes) or boosted_trees_of(model)
        if trees is not None:
            parts.nodes.append(ensemble_node(trees.trees, len(trees.base), trees.base, (matrix, "raw")))
            return "raw", trees.link
        linear = linear_nodes(parts, model, matrix)
        if linear is not None:
            return linear, "logistic" if self._spec.kind.classifies else None
        if parted is not None:
            raise SpecError(
                f"{self._section.path} cannot be converted to ONNX: it ends in {type(model).__name__} with parameters "
                "that change what its trees are or what is made of their sum",
                expected="trees that read numbers, and whose sum is the score",
                remedy="leave objective, loss, init and categorical columns of its last step as they are by default",
            )
        return converted_nodes(parts, model, (matrix, view.width), self._section.path), None

    def _model(self, seed: int | None = None) -> Any:
        from sklearn.base import is_classifier, is_regressor

        made, classifies = made_of(self._section.path, self._section.params), self._spec.kind.classifies
        # Some have probabilities only when they are fitted, so the class is asked here.
        fits = is_classifier(made) and hasattr(type(made), "predict_proba") if classifies else is_regressor(made)
        if not fits:
            raise self._no_such_task()
        round_before_trees(made)
        unseeded = {
            name: (self._spec.seed if seed is None else seed) % _SEEDS
            for name, value in made.get_params(deep=True).items()
            if name.split("__")[-1] == "random_state" and value is None
        }
        alone = {"n_jobs": 1} if self._section.path.partition(".")[0] != "sklearn" else {}
        return made.set_params(**unseeded, **alone)

    def _require_scores(self, model: Any) -> None:
        if self._spec.kind.classifies and not hasattr(model, "predict_proba"):
            raise self._no_such_task()

    def _no_such_task(self) -> SpecError:
        wanted = "classifier with probabilities" if self._spec.kind.classifies else "regressor"
        return SpecError(
            f"{self._section.path} is no {wanted}",
            expected=f"one, as training.task is {self._spec.task}",
            remedy="correct training.estimator.path, or the `params` that keep it from having them",
        )


class _View:
    """What a model sees of rows: their matrix, and the targets in its unit."""

    def __init__(
        self, objective: Objective, scaling: Scaling | None, codes: tuple[int, ...], numeric: int, *, double: bool
    ) -> None:
        self.scaling = scaling
        self._double = double
        self.codes = codes
        self.width = numeric + len(codes) if scaling is None else scaling.width + sum(codes)
        self._objective = objective

    @classmethod
    def of(cls, task: FitTask, numeric: tuple[str, ...], *, normalise: bool, double: bool) -> _View:
        scaling = learn_scaling(task.train.numeric, numeric) if normalise else None
        return cls(task.objective, scaling, task.codes, len(numeric), double=double)

    def matrix(self, rows: Rows) -> Any:
        if self.scaling is None:
            matrix = plain_matrix(rows)
        else:
            matrix = normalised(self.scaling, self.codes, rows.numeric, rows.categorical)
        return matrix.astype(np.float64) if self._double else matrix

    def values(self, target: np.ndarray) -> np.ndarray:
        """Class numbers; of a regression standardised values beside a normalised matrix, else those of the data."""
        if self._objective.kind.classifies or self.scaling is None:
            return learnt_values(self._objective, target)
        return self._objective.encode(target)

    def nodes(self, parts: GraphParts) -> str:
        return parts.plain_matrix() if self.scaling is None else parts.normalised_matrix(self.scaling, self.codes)

    def ending(self, parts: GraphParts, values: str) -> None:
        """Ends a regression's graph."""
        if self.scaling is None:
            parts.one_column(values)
        else:
            parts.score_of_values(values, self._objective)

    def in_unit(self, values: np.ndarray) -> np.ndarray:
        return values if self.scaling is None else values * self._objective.scale + self._objective.location


def _scores(objective: Objective, model: Any, view: _View, rows: Rows) -> np.ndarray:
    with quiet():
        if not objective.kind.classifies:
            return view.in_unit(np.asarray(model.predict(view.matrix(rows)), dtype=np.float64).reshape(-1))
        shares = np.asarray(model.predict_proba(view.matrix(rows)), dtype=np.float64)
    if objective.shifts:
        shares = shares / np.asarray(objective.weights)
        shares /= shares.sum(axis=1, keepdims=True)
    shares = np.clip(shares, 0, 1)
    return shares if objective.kind.per_class else shares[:, 1]


def _few(task: FitTask) -> Rows:
    """The first rows, and some of each class; of each column some with a value, and some with a null."""
    rows = task.train
    chosen = np.arange(min(len(rows.target), _TRIAL_ROWS))
    null = np.isnan(rows.numeric)
    for kind in (null, ~null & np.isfinite(rows.numeric)):
        for column in kind.T:
            chosen = np.union1d(chosen, np.flatnonzero(column)[:_TRIAL_CLASS_ROWS])
    for value in np.unique(rows.target) if task.objective.kind.classifies else ():
        chosen = np.union1d(chosen, np.flatnonzero(rows.target == value)[:_TRIAL_CLASS_ROWS])
    return rows.take(chosen)
