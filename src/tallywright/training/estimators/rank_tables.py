"""Piecewise linear tables of one number, exact in a graph: a tree finds the piece, its leaf holds the line.

ONNX has no search in a sorted list. A comparison with every knot costs a matrix of rows times knots; a balanced tree
with a leaf for each piece costs ten comparisons for a thousand knots, and looks at no other row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tallywright.training.estimators.tree_graph import LEAF, LT, Tree, ensemble_node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tallywright.training.estimators.model_graph import GraphParts


@dataclass(frozen=True, slots=True)
class PiecewiseLinear:
    """A continuous function, linear between its knots and constant beyond them.

    Args:
        knots: Ascending, each once.
        values: At the knots.
    """

    knots: NDArray[np.float32]
    values: NDArray[np.float64]

    def __call__(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values at these numbers."""
        return np.interp(numbers, self.knots.astype(np.float64), self.values)

    def tree(self) -> Tree:
        """The tree whose leaves hold (knot, value there, slope) of the piece that a number lies in."""
        pieces = self._pieces()
        mode: list[int] = []
        threshold: list[float] = []
        true: list[int] = []
        false: list[int] = []
        values: list[NDArray[np.float64]] = []

        def grow(first: int, last: int) -> int:
            node, middle = len(mode), (first + last) // 2
            leaf = first == last
            mode.append(LEAF if leaf else LT)
            threshold.append(0.0 if leaf else float(self.knots[middle]))
            values.append(pieces[first] if leaf else np.zeros(3))
            true.append(0)
            false.append(0)
            if not leaf:
                true[node], false[node] = grow(first, middle), grow(middle + 1, last)
            return node

        grow(0, len(self.knots))
        nothing = np.zeros(len(mode), dtype=np.int64)
        return Tree(
            mode=np.array(mode, dtype=np.uint8),
            feature=nothing,
            threshold=np.array(threshold, dtype=np.float32),
            true=np.array(true, dtype=np.int64),
            false=np.array(false, dtype=np.int64),
            missing=nothing.astype(bool),
            values=np.array(values),
        )

    def nodes(self, parts: GraphParts, numbers: str, name: str) -> str:
        """Adds the table to a graph; `numbers` is a matrix of one column, and so is the result of that name."""
        found = f"{name}_piece"
        parts.nodes.append(ensemble_node([self.tree()], 3, (0.0, 0.0, 0.0), (numbers, found)))
        knot, value, slope = (
            parts.add("Gather", [found, parts.constant(f"place_{place}", [place], np.int64)], f"{name}_{what}", axis=1)
            for place, what in enumerate(("knot", "value", "slope"))
        )
        beyond = parts.add("Sub", [numbers, knot], f"{name}_beyond")
        return parts.add("Add", [value, parts.add("Mul", [slope, beyond], f"{name}_rise")], name)

    def _pieces(self) -> NDArray[np.float64]:
        """Knot, value and slope of each piece: one below the first knot, one from each knot on."""
        knots = self.knots.astype(np.float64)
        slopes = np.concatenate([[0.0], np.diff(self.values) / np.diff(knots), [0.0]])
        return np.column_stack([np.append(knots[:1], knots), np.append(self.values[:1], self.values), slopes])


def rank_table(reference: NDArray[np.float64], most: int) -> PiecewiseLinear:
    """The rank of a number in a reference distribution, from 0 to 1; of equal ones the middle of their ranks.

    Args:
        reference: At least one number.
        most: How many knots the table has at most: quantiles of the reference.
    """
    ordered = np.sort(reference.astype(np.float32))
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    knots = np.unique(ordered[places])
    below, up_to = (np.searchsorted(ordered, knots, side) for side in ("left", "right"))
    return PiecewiseLinear(knots, (below + up_to) / (2 * len(ordered)))


def calibration_table(ranks: NDArray[np.float64], happened: NDArray[np.float64], bins: int) -> PiecewiseLinear:
    """The share of rows in which it happened by rank: isotonic over bins with the same number of rows.

    Args:
        ranks: Of rows that no model has learnt from; at least one.
        happened: 1 where it did, else 0.
        bins: At most so many.
    """
    from sklearn.isotonic import IsotonicRegression

    edges = np.unique(np.quantile(ranks, np.linspace(0, 1, bins + 1)))
    numbers = np.clip(np.searchsorted(edges, ranks, side="right") - 1, 0, max(len(edges) - 2, 0))
    counts = np.bincount(numbers)
    centres, shares = (np.bincount(numbers, values) / np.maximum(counts, 1) for values in (ranks, happened))
    knots, places = np.unique(centres[counts > 0].astype(np.float32), return_index=True)
    shares, weights = shares[counts > 0][places], counts[counts > 0][places]
    return PiecewiseLinear(knots, IsotonicRegression().fit(knots, shares, sample_weight=weights).predict(knots))
