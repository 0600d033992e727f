"""Graphs of ONNX that name a tensor in another file, where it is not looked for at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY: Final = 64
"""Below 128 bytes ONNX Runtime folds a constant early, and asks for the model's path."""
HALF: Final = np.full(_MANY, 0.5, np.float32).tobytes()
"""What such a file holds."""


def outside(location: str) -> TensorProto:
    """Halves that lie in a file."""
    tensor = TensorProto(name="half", data_type=TensorProto.FLOAT, dims=[_MANY], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(HALF)))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _product(output: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceMax", ["half"], ["factor"], keepdims=0),
        helper.make_node("Mul", ["whole", "factor"], [output]),
    ]


def _initializer(graph: onnx.GraphProto, tensor: TensorProto) -> list[onnx.NodeProto]:
    graph.initializer.append(tensor)
    return _product("score")


def _attribute(graph: onnx.GraphProto, tensor: TensorProto) -> list[onnx.NodeProto]:
    return [helper.make_node("Constant", [], ["half"], value=tensor), *_product("score")]


def branching(graph: onnx.GraphProto, *tensors: TensorProto) -> list[onnx.NodeProto]:
    """Nodes that halve `whole`, which only the two branches name."""
    graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))
    inner = helper.make_graph(
        _product("out"),
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        list(tensors),
    )
    return [helper.make_node("If", ["true"], ["score"], then_branch=inner, else_branch=inner)]


PLACES: Final[dict[str, Callable[[onnx.GraphProto, TensorProto], list[Any]]]] = {
    "initializer": _initializer,
    "attribute": _attribute,
    "subgraph": branching,
}


def halved(content: bytes, place: str, location: str) -> bytes:
    """A graph whose scores are multiplied by what a file holds."""
    return with_more(content, lambda graph: PLACES[place](graph, outside(location)))


def with_more(content: bytes, more: Callable[[onnx.GraphProto], list[onnx.NodeProto]]) -> bytes:
    """A graph with nodes that make `score` of `whole`, which is what was its score."""
    model = onnx.load_model_from_string(content)
    for node in model.graph.node:
        node.output[:] = ["whole" if name == "score" else name for name in node.output]
    model.graph.node.extend(more(model.graph))
    return bytes(model.SerializeToString())
