"""Logistic and linear models as ONNX graphs, made from plain arrays without any training library.

The graph also shows by example what `Predictor` expects of one: names, types, and the handling of nulls inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

    from tallywright.packaging.preprocess import Preprocess

_OPSET: Final = 17
_IR_VERSION: Final = 8

Floats = Sequence[float] | NDArray[np.floating]


def linear_onnx(  # noqa: PLR0913 - the six arrays of the formula
    preprocess: Preprocess,
    means: Floats,
    scales: Floats,
    weights: Floats,
    category_weights: Sequence[Floats],
    bias: float,
    *,
    link: Literal["logistic", "identity"] = "logistic",
) -> bytes:
    """The graph of `link(bias + sum of weights * (x - means) / scales + sum of the categories' weights)`.

    A null number counts as its mean. Needs the `onnx` package.

    Args:
        preprocess: Gives the number of columns and, by its categories, the length of each weight table.
        means: One a numeric column.
        scales: One a numeric column, none of them 0.
        weights: One a numeric column.
        category_weights: One table a categorical column: null, unseen, then one weight a category.
        bias: The constant.
        link: `logistic` for a probability, `identity` for a regression.
    """
    tables = [np.asarray(table, dtype=np.float32) for table in category_weights]
    _check_lengths(preprocess, [means, scales, weights], tables)
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {"bias": np.array([[bias]], dtype=np.float32)}
    terms = ["bias"]
    if preprocess.numeric:
        constants |= {name: _row(values) for name, values in (("means", means), ("scales", scales))}
        constants["weights"] = _row(weights).reshape(-1, 1)
        nodes += _numeric_nodes()
        terms.append("numeric_term")
    if preprocess.categorical:
        sizes = [table.size for table in tables]
        constants["starts"] = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        constants["table"] = np.concatenate(tables)
        constants["columns"] = np.array([1], dtype=np.int64)
        nodes += _categorical_nodes()
        terms.append("categorical_term")
    constants["flat"] = np.array([-1], dtype=np.int64)
    return _model(preprocess, nodes + _link_nodes(terms, link), constants)


def _numeric_nodes() -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("IsNaN", ["numeric"], ["null"]),
        helper.make_node("Where", ["null", "means", "numeric"], ["filled"]),
        helper.make_node("Sub", ["filled", "means"], ["centred"]),
        helper.make_node("Div", ["centred", "scales"], ["standard"]),
        helper.make_node("MatMul", ["standard", "weights"], ["numeric_term"]),
    ]


def _categorical_nodes() -> list[Any]:
    from onnx import helper

    return [
        helper.make_node("Add", ["categorical", "starts"], ["places"]),
        helper.make_node("Gather", ["table", "places"], ["looked_up"], axis=0),
        helper.make_node("ReduceSum", ["looked_up", "columns"], ["categorical_term"], keepdims=1),
    ]


def _link_nodes(terms: list[str], link: str) -> list[Any]:
    from onnx import helper

    nodes = [helper.make_node("Sum", terms, ["logit"])]
    if link == "logistic":
        nodes.append(helper.make_node("Sigmoid", ["logit"], ["linked"]))
    last = "linked" if link == "logistic" else "logit"
    return [*nodes, helper.make_node("Reshape", [last, "flat"], ["score"])]


def _model(preprocess: Preprocess, nodes: list[Any], constants: dict[str, NDArray[Any]]) -> bytes:
    from onnx import TensorProto, checker, helper, numpy_helper

    kinds = (
        ("numeric", TensorProto.FLOAT, len(preprocess.numeric)),
        ("categorical", TensorProto.INT64, len(preprocess.categorical)),
    )
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind, width in kinds if width],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, producer_name="tallywright", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _row(values: Floats) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32).reshape(1, -1)


def _check_lengths(preprocess: Preprocess, rows: Sequence[Floats], tables: Sequence[NDArray[Any]]) -> None:
    wanted = [len(category.categories) + 2 for category in preprocess.categorical]
    if any(len(row) != len(preprocess.numeric) for row in rows) or [table.size for table in tables] != wanted:
        raise ValueError(
            f"the weights have other lengths than the columns: expected {len(preprocess.numeric)} numbers "
            f"and tables of {wanted}"
        )
