"""A model of ONNX between nodes that make its inputs of the package's, and `score` of its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.training.adoption.onnx_inputs import NUMBERS
from tallywright.training.estimators.model_graph import GraphParts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.training.adoption.onnx_inputs import OnnxInput
    from tallywright.training.objective import Objective

_PREFIX: Final = "adopted/"
"""Before every name of the model, so that none of ours is taken."""
_FLOAT, _DOUBLE = 1, 11


def with_ends(
    content: bytes, inputs: Sequence[OnnxInput], output: str, width: int, preprocess: Preprocess, objective: Objective
) -> bytes:
    """The model with the ends of a package.

    Args:
        content: The model.
        inputs: What it reads.
        output: The output that is meant.
        width: How many columns that has.
        preprocess: The package's columns and categories.
        objective: The task with its classes.
    """
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(content)
    _rename(model.graph)
    before, after = (GraphParts(len(preprocess.numeric), len(preprocess.categorical)) for _ in range(2))
    for one in inputs:
        _make_input(before, one, preprocess)
    _make_score(after, _PREFIX + output, width, objective)
    shape = ["rows", objective.outputs] if objective.kind.per_class else ["rows"]
    graph = helper.make_graph(
        [*before.nodes, *model.graph.node, *after.nodes],
        "model",
        before.inputs(),
        [helper.make_tensor_value_info("score", _FLOAT, shape)],
        [*model.graph.initializer, *before.initializers(), *after.initializers()],
        sparse_initializer=model.graph.sparse_initializer,
    )
    model.graph.CopyFrom(graph)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _rename(graph: onnx.GraphProto) -> None:
    """Puts the prefix before every name of a graph and of the graphs in it, which see the names around them."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and _PREFIX + name for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner)
    sparse = [one.values for one in graph.sparse_initializer]
    for one in (*graph.initializer, *sparse, *graph.input, *graph.output, *graph.value_info):
        one.name = one.name and _PREFIX + one.name


def _make_input(parts: GraphParts, one: OnnxInput, preprocess: Preprocess) -> None:
    target = _PREFIX + one.name
    if one.is_own:
        parts.add("Identity", [one.of], target)
        return
    to = _DOUBLE if NUMBERS.get(one.kind) is np.float64 else _FLOAT
    if one.place is None:
        parts.add("Cast", [one.of], target, to=to)
        return
    # A list of one index keeps the axis, a plain one takes it away.
    index = np.array([one.place] if one.keeps_axis else one.place, dtype=np.int64)
    column = parts.add(
        "Gather", [one.of, parts.constant(f"place/{one.name}", index, None)], f"column/{one.name}", axis=1
    )
    if one.of == "numeric":
        parts.add("Cast", [column], target, to=to)
    else:
        texts = parts.constant(f"texts/{one.name}", one.texts(preprocess), None)
        parts.add("Gather", [texts, column], target, axis=0)


def _make_score(parts: GraphParts, output: str, width: int, objective: Objective) -> None:
    plain = parts.add("Cast", [output], "plain", to=_FLOAT)
    if objective.kind.per_class:
        parts.add("Identity", [plain], "score")
    elif width > 1:
        place = parts.constant("positive", positive_column(objective), np.int64)
        parts.add("Gather", [plain, place], "score", axis=1)
    else:
        parts.add("Reshape", [plain, parts.constant("flat", [-1], np.int64)], "score")


def positive_column(objective: Objective) -> int:
    """The column of the positive class: libraries have their classes sorted."""
    classes: tuple[Any, ...] = objective.classes
    return int(classes[1] > classes[0])
