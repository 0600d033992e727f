"""An ensemble of decision trees as one ONNX operator, so exact that no row falls on another side than in the library.

Thresholds are kept in float32, as inputs are. A library that compares with float64 thresholds gets the largest float32
that is not above the threshold: for float32 inputs `x <= t` and `x <= t32` are then the same. What differs from the
library is the sum over the trees alone, which ONNX Runtime computes in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

LEAF, LEQ, LT, EQ = 0, 1, 2, 3
_MODES: Final = (b"LEAF", b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_EQ")
ML_DOMAIN: Final = "ai.onnx.ml"


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; node 0 is its root, and an array has an entry for each node.

    Args:
        mode: LEAF, or how the column is compared with the threshold: LEQ, LT, EQ.
        feature: The column that a node compares.
        threshold: With what.
        true: The node to go on with where the comparison holds.
        false: Where it does not.
        missing: True where NaN goes the way of `true`.
        values: What a leaf adds to each target: [nodes, targets]; read of leaves alone.
        target: The number of the first of these targets in the ensemble.
    """

    mode: NDArray[np.uint8]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missing: NDArray[np.bool_]
    values: NDArray[np.float64]
    target: int = 0


def rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each threshold."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def leaf_tree(values: Sequence[float], target: int = 0) -> Tree:
    """A tree that is one leaf."""
    nothing = np.zeros(1, dtype=np.int64)
    return Tree(
        mode=np.array([LEAF], dtype=np.uint8),
        feature=nothing,
        threshold=nothing.astype(np.float32),
        true=nothing,
        false=nothing,
        missing=nothing.astype(bool),
        values=np.array([values], dtype=np.float64),
        target=target,
    )


def with_members(tree: Tree, sets: Mapping[int, Sequence[int]]) -> Tree:
    """The tree with nodes that ask whether a code is one of a set, as chains of EQ nodes with one common way out.

    ONNX Runtime takes several nodes with the same `true` node, and merges such chains into one look-up.

    Args:
        tree: The nodes in `sets` have any mode but LEAF.
        sets: Node to its codes; a node with none always goes the way of `false`.
    """
    if not sets:
        return tree
    mode, feature, threshold, false = (np.array(part) for part in (tree.mode, tree.feature, tree.threshold, tree.false))
    true, missing = np.array(tree.true), np.array(tree.missing)
    added: list[tuple[int, int, int, int]] = []
    count = len(mode)
    for node, codes in sets.items():
        mode[node], missing[node] = EQ, False
        # No code is negative.
        first, *others = codes or [-1]
        threshold[node], at, last = first, node, int(false[node])
        for code in others:
            following = count + len(added)
            if at == node:
                false[node] = following
            else:
                added[at - count] = (*added[at - count][:3], following)
            added.append((int(feature[node]), code, int(true[node]), last))
            at = following
    more = np.array(added, dtype=np.int64).reshape(-1, 4)
    return Tree(
        mode=np.concatenate([mode, np.full(len(more), EQ, dtype=np.uint8)]),
        feature=np.concatenate([feature, more[:, 0]]),
        threshold=np.concatenate([threshold, more[:, 1].astype(np.float32)]),
        true=np.concatenate([true, more[:, 2]]),
        false=np.concatenate([false, more[:, 3]]),
        missing=np.concatenate([missing, np.zeros(len(more), dtype=bool)]),
        values=np.concatenate([tree.values, np.zeros((len(more), tree.values.shape[1]))]),
        target=tree.target,
    )


def ensemble_node(trees: Iterable[Tree], targets: int, base: Sequence[float], names: tuple[str, str]) -> Any:
    """The node that sums the leaves of all trees: [rows, targets] float32.

    Args:
        trees: At least one.
        targets: Their number.
        base: What is added to each target.
        names: Of the input, a float32 matrix, and of the output.
    """
    from onnx import helper

    all_trees = list(trees)
    sizes = [len(tree.mode) for tree in all_trees]
    modes = np.concatenate([tree.mode for tree in all_trees])
    node = helper.make_node("TreeEnsembleRegressor", [names[0]], [names[1]], domain=ML_DOMAIN, n_targets=targets)
    whole = {
        "nodes_treeids": np.repeat(np.arange(len(all_trees)), sizes),
        "nodes_nodeids": np.concatenate([np.arange(size) for size in sizes]),
        "nodes_featureids": np.concatenate([tree.feature for tree in all_trees]),
        "nodes_truenodeids": np.concatenate([tree.true for tree in all_trees]),
        "nodes_falsenodeids": np.concatenate([tree.false for tree in all_trees]),
        "nodes_missing_value_tracks_true": np.concatenate([tree.missing for tree in all_trees]),
    } | _leaves(all_trees)
    weights = whole.pop("target_weights")
    for name, values in whole.items():
        node.attribute.append(helper.make_attribute(name, values.astype(np.int64).tolist()))
    node.attribute.append(helper.make_attribute("nodes_modes", [_MODES[mode] for mode in modes]))
    thresholds = np.concatenate([tree.threshold for tree in all_trees])
    for name, floats in (("nodes_values", thresholds), ("target_weights", weights), ("base_values", np.asarray(base))):
        node.attribute.append(helper.make_attribute(name, floats.astype(np.float32).tolist()))
    return node


def _leaves(trees: list[Tree]) -> dict[str, NDArray[Any]]:
    """What each leaf adds to which target."""
    ids, nodes, targets, weights = [], [], [], []
    for number, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.mode == LEAF)
        width = tree.values.shape[1]
        ids.append(np.full(len(leaves) * width, number))
        nodes.append(np.repeat(leaves, width))
        targets.append(np.tile(np.arange(tree.target, tree.target + width), len(leaves)))
        weights.append(tree.values[leaves].reshape(-1))
    return {
        "target_treeids": np.concatenate(ids),
        "target_nodeids": np.concatenate(nodes),
        "target_ids": np.concatenate(targets),
        "target_weights": np.concatenate(weights),
    }
