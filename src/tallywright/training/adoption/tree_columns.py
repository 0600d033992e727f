"""From the columns and category codes of a foreign file of trees to those of a package."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.packaging.preprocess import FIRST_CODE
from tallywright.training.adoption.understood import other_columns
from tallywright.training.estimators.tree_graph import EQ, LEAF, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallywright.errors import TallyError
    from tallywright.spec.sections import Training
    from tallywright.training.matrices import Rows

_UNNAMED: Final = re.compile(r"Column_\d+|f\d+")


class TreeColumns:
    """The columns of a file of trees: `order[i]` is the place of its column i in the package's matrix.

    Args:
        names: The file's columns; without names they are those of `training.numeric` in their order.
        width: How many columns the file reads.
        training: The section of the spec.
        refusal: Makes the error of what is wrong with the file.

    Raises:
        TallyError: The file reads other columns than the spec has.
    """

    def __init__(
        self, names: Sequence[str], width: int, training: Training, refusal: Callable[[str], TallyError]
    ) -> None:
        columns = (*training.numeric, *training.categorical)
        self._numeric, self._refusal = len(training.numeric), refusal
        if all(_UNNAMED.fullmatch(name) for name in names) and not set(names) <= set(columns):
            if width != len(columns) or training.categorical:
                raise refusal(
                    f"reads {width} columns without names; that is understood where the spec has as many numeric "
                    f"columns and no categorical ones, and it has {len(columns)}"
                )
            names = columns
        if sorted(names) != sorted(columns):
            raise refusal(other_columns(names, columns) or "reads a column twice")
        self.names = tuple(names)
        self.order = np.array([columns.index(name) for name in names], dtype=np.int64)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The file's categorical columns, in its order."""
        return tuple(name for name, place in zip(self.names, self.order, strict=True) if place >= self._numeric)

    def moved(self, tree: Tree, by: int) -> Tree:
        """A tree of the file over the package's matrix, with codes that are larger by so many.

        Raises:
            TallyError: It is no tree; a split by sets of a numeric column, or by a threshold of a categorical one.
        """
        problem = _problem_of(tree, len(self.order))
        if problem:
            raise self._refusal(f"has a tree {problem}")
        inner = tree.mode != LEAF
        feature = np.where(inner, self.order[np.where(inner, tree.feature, 0)], 0)
        by_set = tree.mode == EQ
        wrong = np.flatnonzero(inner & (by_set != (feature >= self._numeric)))
        if len(wrong):
            name = self.names[int(np.flatnonzero(self.order == feature[wrong[0]])[0])]
            how = "by sets of categories" if by_set[wrong[0]] else "by a threshold of its codes"
            raise self._refusal(f"splits {name} {how}, which is not what the spec says of the column")
        # A set without a code is written as the code -1.
        shifted = by_set & (tree.threshold >= 0)
        return replace(
            tree, feature=feature, threshold=np.where(shifted, tree.threshold + np.float32(by), tree.threshold)
        )

    def matrix(self, rows: Rows) -> np.ndarray:
        """Rows as the file's own library reads them: its order of columns, its codes, NaN for null and unseen."""
        finite = np.where(np.isinf(rows.numeric), np.float32(np.nan), rows.numeric)
        codes = np.where(rows.categorical < FIRST_CODE, np.nan, rows.categorical - FIRST_CODE).astype(np.float32)
        return np.ascontiguousarray(np.hstack([finite, codes])[:, self.order])


def _problem_of(tree: Tree, columns: int) -> str:
    """Why the arrays of a file are no tree; empty when they are one.

    A library that is given such a file may end the process.
    """
    count = len(tree.mode)
    parts = (tree.feature, tree.threshold, tree.true, tree.false, tree.missing, tree.values)
    if any(len(part) != count for part in parts):
        return "whose lists have different lengths"
    inner = tree.mode != LEAF
    for part, most in ((tree.feature, columns), (tree.true, count), (tree.false, count)):
        if inner.any() and not (part[inner].min() >= 0 and part[inner].max() < most):
            return "with a split on a column, or to a node, that there is not"
    level = np.zeros(1, dtype=np.int64)
    for _ in range(count + 1):
        level = level[inner[level]]
        if not len(level):
            return ""
        level = np.unique(np.concatenate([tree.true[level], tree.false[level]]))
    return "that leads into itself"
