"""What is read of a graph without running all of it: its nodes, a part of it, and the rows that its lookups refuse."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from synthetic import network

from tallywright.packaging.graph import Graph
from tallywright.packaging.refusals import Refusals, lookups_of

NETWORK = network(4, 2, fault="prediction")


def load(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def made(nodes: list[Any], **tables: Any) -> bytes:
    """A model of `categorical` [n, 2] to `score`, with these tables."""
    ends = (
        [helper.make_tensor_value_info("categorical", TensorProto.INT64, ["n", 2])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, None)],
    )
    weights = [numpy_helper.from_array(np.asarray(table), name) for name, table in tables.items()]
    graph = helper.make_graph(nodes, "made", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def refused(model: bytes, codes: np.ndarray) -> np.ndarray:
    found = Refusals(model, load).find({"categorical": codes})
    return np.logical_or.reduce([np.zeros(len(codes), bool), *found.values()])


def raises(model: bytes, codes: np.ndarray) -> np.ndarray:
    """What the graph itself says to each row alone."""
    session, said = load(model), []
    for row in codes:
        try:
            session.run(["score"], {"categorical": row[None]})
            said.append(False)
        except Exception:  # noqa: BLE001 - that is what is asked
            said.append(True)
    return np.array(said)


def test_the_nodes_of_a_graph_are_those_that_onnx_reads() -> None:
    theirs, ours = onnx.load_from_string(NETWORK).graph, Graph.parse(NETWORK)
    assert [(node.op_type, tuple(node.input), tuple(node.output)) for node in theirs.node] == [
        (node.kind, node.inputs, node.outputs) for node in ours.nodes
    ]
    assert {tensor.name: tuple(tensor.dims) for tensor in theirs.initializer} == dict(ours.constants)
    assert ours.inputs == {"numeric", "categorical"}


def test_a_part_of_a_graph_has_its_nodes_alone_and_gives_the_same_bits() -> None:
    part = Graph.parse(NETWORK).cut(["where", "embedded1"])
    kinds = [node.op_type for node in onnx.load_from_string(part).graph.node]
    assert kinds == ["Gather", "Gather", "Gather", "Equal", "Where"]
    codes = np.array([[2, 3], [1, 5]])
    where, embedded = load(part).run(["where", "embedded1"], {"categorical": codes, "numeric": np.zeros((2, 4), "f4")})
    assert where.tolist() == [0, 9]
    table = next(one for one in onnx.load_from_string(NETWORK).graph.initializer if one.name == "e1")
    assert np.array_equal(embedded, numpy_helper.to_array(table)[codes[:, 1]])


@pytest.mark.parametrize("cut", range(0, len(NETWORK), 97))
def test_a_model_that_ends_too_early_refuses_nothing_and_raises_nothing(cut: int) -> None:
    assert Refusals(NETWORK[:cut], load).find({"categorical": np.zeros((1, 2), np.int64)}) == {}


@given(st.binary(max_size=60))
def test_bytes_that_are_no_model_raise_value_error_at_most(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        Graph.parse(content)


TABLE = np.arange(5, dtype=np.float32)
LOOKUP = [
    helper.make_node("Gather", ["categorical", "first"], ["code"], axis=1),
    helper.make_node("Gather", ["table", "code"], ["score"]),
]
WHOLE = [
    helper.make_node("Gather", ["table", "categorical"], ["both"]),
    helper.make_node("ReduceSum", ["both", "axis"], ["score"], keepdims=0),
]
ELEMENTS = [
    helper.make_node("Transpose", ["categorical"], ["turned"]),
    helper.make_node("Transpose", ["turned"], ["back"]),
    helper.make_node("GatherElements", ["wide", "back"], ["score"], axis=1),
]
CHAINED = [
    helper.make_node("Gather", ["places", "categorical"], ["other"]),
    helper.make_node("Gather", ["table", "other"], ["both"]),
    helper.make_node("ReduceSum", ["both", "axis"], ["score"], keepdims=0),
]
CONSTANT = [
    helper.make_node("Constant", [], ["kept"], value=numpy_helper.from_array(TABLE)),
    helper.make_node("Gather", ["kept", "categorical"], ["score"]),
]
GRAPHS = {
    "a column": made(LOOKUP, table=TABLE, first=np.int64(0)),
    "all of an input": made(WHOLE, table=TABLE, axis=np.array([1])),
    "another axis": made(ELEMENTS, wide=np.zeros((64, 3), np.float32)),
    "a constant": made(CONSTANT),
}


@pytest.mark.parametrize("name", GRAPHS)
@given(codes=st.lists(st.tuples(st.integers(-7, 7), st.integers(-7, 7)), min_size=1, max_size=12))
def test_what_lookups_refuse_is_what_the_graph_raises_for(name: str, codes: list[tuple[int, int]]) -> None:
    rows = np.array(codes, dtype=np.int64)
    assert np.array_equal(refused(GRAPHS[name], rows), raises(GRAPHS[name], rows))


def test_of_lookups_one_behind_the_other_the_first_alone_is_read() -> None:
    model = made(CHAINED, places=np.array([0, 9, 1]), table=TABLE, axis=np.array([1]))
    assert [lookup.size for lookup in lookups_of(Graph.parse(model), "score")] == [3]
    codes = np.array([[0, 2], [0, 1], [0, 5]])
    assert raises(model, codes).tolist() == [False, True, True]
    assert refused(model, codes).tolist() == [False, False, True]


def test_indices_that_are_computed_by_sums_are_not_read() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["categorical", "axis"], ["code"], keepdims=0),
        helper.make_node("Gather", ["table", "code"], ["score"]),
    ]
    assert lookups_of(Graph.parse(made(nodes, table=TABLE, axis=np.array([1]))), "score") == ()


def test_lookups_that_the_score_does_not_need_are_not_read() -> None:
    nodes = [*LOOKUP, helper.make_node("Gather", ["small", "categorical"], ["unused"])]
    model = made(nodes, table=TABLE, first=np.int64(0), small=TABLE[:1])
    assert [lookup.size for lookup in lookups_of(Graph.parse(model), "score")] == [5]
