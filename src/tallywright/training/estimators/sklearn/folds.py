"""A forest for each fold, fitted on the other folds, and one score of all of them: the mean of their ranks.

A forest with balanced weights puts rows in a good order, and its shares are no probabilities. So each forest's score is
replaced by its rank among the rows that this forest has not seen (a table that is kept, so a row's rank depends on no
other row of its batch), the ranks are averaged, and their mean is calibrated on rows that no forest has seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import InputError, SpecError
from tallywright.training.estimators.libraries import plain_matrix
from tallywright.training.estimators.model_graph import GraphParts
from tallywright.training.estimators.rank_tables import PiecewiseLinear, calibration_table, rank_table
from tallywright.training.estimators.sklearn.trees import trees_of
from tallywright.training.estimators.tree_graph import ensemble_node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.matrices import Rows

KNOTS: Final = 1024
"""Of the distribution of a forest's scores."""
BINS: Final = 20
HELD_BACK: Final = 10
"""Where there is no validation (a refit), one of so many rows is held back for the calibration: the newest."""
HANDFUL: Final = 20
"""Trees of one node: they stay in the processor's cache while a batch passes. With all 400 trees of a forest in one
node each row walks through all of the forest's memory: twice the time."""
MOST_BYTES: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class FoldedForest:
    """The fitted forests with their tables."""

    forests: Sequence[Any]
    ranks: Sequence[PiecewiseLinear]
    calibration: PiecewiseLinear

    def mean_rank(self, rows: Rows) -> np.ndarray:
        """The mean of the rows' ranks by all forests."""
        return _mean_rank(self.forests, self.ranks, rows)

    def predict(self, rows: Rows) -> np.ndarray:
        """The probability of the positive class, by the library's own scores."""
        return self.calibration(self.mean_rank(rows))

    def graph(self, numeric: int, categorical: int) -> bytes:
        """The whole as ONNX.

        Raises:
            SpecError: It is larger than a package may be.
        """
        parts = GraphParts(numeric, categorical)
        matrix = parts.plain_matrix()
        ranks = []
        for number, (forest, table) in enumerate(zip(self.forests, self.ranks, strict=True)):
            share = _share(parts, forest, matrix, f"share_{number}")
            ranks.append(table.nodes(parts, share, f"rank_{number}"))
        total = parts.add("Sum", ranks, "ranks")
        mean = parts.add("Mul", [total, parts.constant("fold", 1 / len(ranks))], "mean_rank")
        parts.one_column(self.calibration.nodes(parts, mean, "probability"))
        made = parts.model(1)
        if len(made) > MOST_BYTES:
            raise SpecError(
                f"the forests take {len(made) / 1e6:,.0f} MB as a graph",
                expected=f"at most {MOST_BYTES / 1e6:,.0f} MB",
                remedy="raise min_samples_split, or lower n_estimators or max_rows of training.estimator",
            )
        return made


def fit_folds(task: FitTask, folds: int, seed: int, fitted: Callable[[Rows, int], Any]) -> FoldedForest:
    """Fits a forest for each fold, and learns ranks and calibration from rows that it has not seen.

    Args:
        task: Its training rows are in the order of their dates.
        folds: At least 2.
        seed: Decides which row is in which fold.
        fitted: Fits the forest of a number on rows.

    Raises:
        InputError: A class has fewer rows than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    train, calibrating = _calibrating(task)
    classes = task.objective.encode(train.target).astype(np.int64)
    fewest = np.bincount(classes, minlength=2).min()
    if fewest < folds:
        raise InputError(
            f"a class has {fewest} training rows",
            expected=f"at least one for each of the {folds} folds",
            remedy="lengthen training.window_days, or lower folds of training.estimator",
        )
    forests, ranks = [], []
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(classes, classes)
    for number, (learnt, held) in enumerate(parts):
        task.doing(f"fitting fold {number + 1} of {folds}", None)
        forests.append(fitted(train.take(learnt), number))
        ranks.append(rank_table(shares_of(forests[-1], train.take(held)), KNOTS))
    mean = _mean_rank(forests, ranks, calibrating)
    happened = task.objective.encode(calibrating.target).astype(np.float64)
    return FoldedForest(forests, ranks, calibration_table(mean, happened, BINS))


def shares_of(forest: Any, rows: Rows) -> np.ndarray:
    """A forest's own score of rows: the mean share of the positive class."""
    return np.asarray(forest.predict_proba(plain_matrix(rows))[:, 1], dtype=np.float64)


def _mean_rank(forests: Sequence[Any], ranks: Sequence[PiecewiseLinear], rows: Rows) -> np.ndarray:
    tables = zip(forests, ranks, strict=True)
    return np.asarray(np.mean([table(shares_of(forest, rows)) for forest, table in tables], axis=0))


def _calibrating(task: FitTask) -> tuple[Rows, Rows]:
    """The rows to learn from, and those to calibrate on."""
    if task.validation is not None:
        return task.train, task.validation
    first = len(task.train.target) - max(1, len(task.train.target) // HELD_BACK)
    return task.train.take(slice(None, first)), task.train.take(slice(first, None))


def _share(parts: GraphParts, forest: Any, matrix: str, name: str) -> str:
    """Adds a forest's share of the positive class to a graph: trees by the handful, and their sum in this order."""
    found = trees_of(forest, ())
    if found is None:
        raise SpecError(f"{type(forest).__name__} is no forest", expected="one of those that `folds` is for")
    trees = [replace(tree, values=tree.values[:, 1:]) for tree in found.trees]
    sums = []
    for first in range(0, len(trees), HANDFUL):
        sums.append(f"{name}_from_{first}")
        parts.nodes.append(ensemble_node(trees[first : first + HANDFUL], 1, (0.0,), (matrix, sums[-1])))
    return parts.add("Sum", sums, name)


def newest(rows: Rows, most: int | None) -> Rows:
    """The last rows, at most so many; rows are in the order of their dates."""
    return rows if most is None else rows.take(slice(-most, None))
