"""Tells which rows a graph will refuse, from the indices that it looks up, without an error of the graph for each.

ONNX Runtime raises for a whole run, and an error costs as much as thousands of sound rows. What a row can be refused
for is, nearly always, one thing: an index outside the table that `Gather` or `GatherElements` looks it up in ("It is an
error if any of the index values are out of bounds", ONNX operators, Gather). So the part of the graph that makes these
indices is run alone, and they are compared with the size of the table. That says about a row exactly what the graph
would: only indices are read that are made by operators whose result for a row depends on neither rounding nor the
number of rows beside it. Whatever else a graph refuses is not seen here, and has to be searched for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from tallywright.packaging.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from tallywright.packaging.graph import Node

_LOOKUPS: Final = frozenset({"Gather", "GatherElements"})
_EXACT: Final = frozenset(
    {
        *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "Div", "Equal", "Expand", "Flatten"),
        *("Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less"),
        *("LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Reshape", "Round", "Shape", "Sign"),
        *("Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where", "Xor"),
    }
)
"""Operators that move, choose and compare values, or compute one from two: nothing is summed over, so that no bit can
depend on the way in which the rows are taken together."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup of the graph: `indices` is a tensor with one or more indices a row, each within -size to size - 1."""

    indices: str
    size: int


class Refusals:
    """Finds the rows that the lookups of a graph refuse; for one thread at a time.

    Args:
        model: The serialized model, with the output `score`.
        load: Makes a session of a serialized model.
    """

    def __init__(self, model: bytes, load: Callable[[bytes], Any]) -> None:
        self.lookups: tuple[Lookup, ...] = ()
        self._session: Any = None
        try:
            graph = Graph.parse(model)
            lookups = lookups_of(graph, "score")
            made = [lookup.indices for lookup in lookups if lookup.indices not in graph.inputs]
            self._session = load(graph.cut(made)) if made else None
        except Exception:  # noqa: BLE001 - a graph that cannot be read so far is searched instead
            return
        self._made = list(dict.fromkeys(made))
        self.lookups = lookups

    def find(self, feed: Mapping[str, NDArray[Any]]) -> dict[Lookup, NDArray[np.bool_]]:
        """A mask of the rows of `feed` that a lookup refuses, for each that refuses some."""
        rows = len(next(iter(feed.values()), ()))
        tensors: dict[str, Any] = dict(feed)
        if self._session is not None:
            wanted = {node.name for node in self._session.get_inputs()}
            given = {name: matrix for name, matrix in feed.items() if name in wanted}
            try:
                tensors |= zip(self._made, self._session.run(self._made, given), strict=True)
            except Exception:  # noqa: BLE001 - then these rows are searched
                return {}
        found = {}
        for lookup in self.lookups:
            indices = tensors[lookup.indices]
            if indices.ndim and indices.shape[0] == rows:
                outside = (indices < -lookup.size) | (indices >= lookup.size)
                refused = outside.reshape(rows, -1).any(axis=1)
                if refused.any():
                    found[lookup] = refused
        return found


def lookups_of(graph: Graph, output: str) -> tuple[Lookup, ...]:
    """The lookups in constant tables that an output needs, with indices that are made exactly, by no other of them."""
    needed = graph.needed([output])
    found: list[Lookup] = []
    risky: set[str] = set()
    for node in needed:
        lookup = _lookup(node, graph)
        behind = graph.needed([node.inputs[1]]) if lookup is not None else ()
        before = set(chain.from_iterable(one.outputs for one in behind))
        if lookup is None or not all(one.kind in _EXACT and not one.has_subgraph for one in behind):
            continue
        if risky.isdisjoint(before):
            found.append(lookup)
        # What refuses rows itself cannot be run to find out about the lookups behind it.
        risky.update(node.outputs)
    return tuple(dict.fromkeys(found))


def _lookup(node: Node, graph: Graph) -> Lookup | None:
    if node.kind not in _LOOKUPS or node.inputs[0] not in graph.constants or node.inputs[1] in graph.constants:
        return None
    shape = graph.constants[node.inputs[0]]
    axis = node.numbers.get("axis", 0)
    return Lookup(node.inputs[1], shape[axis]) if -len(shape) <= axis < len(shape) else None
