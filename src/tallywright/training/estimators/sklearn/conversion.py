"""Models of scikit-learn that skl2onnx converts, as nodes of a graph."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from tallywright.errors import SpecError
from tallywright.training.estimators.libraries import quiet, require_installed
from tallywright.training.estimators.sklearn.trees import trees_of
from tallywright.training.estimators.tree_graph import ML_DOMAIN, ensemble_node
from tallywright.training.estimators.tried_graph import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tallywright.training.estimators.model_graph import GraphParts

_FLOAT, _DOUBLE = 1, 11
"""ONNX's numbers of the types of tensors."""


def converted_nodes(parts: GraphParts, model: Any, matrix: tuple[str, int], path: str) -> str:
    """The name of a model's probabilities [N, classes], or of its values [N, 1].

    Args:
        parts: Gets the nodes.
        model: A fitted model.
        matrix: The name of its input, and the width of that.
        path: The model's import path, for messages.

    Raises:
        SpecError: skl2onnx is not installed, or does not know such a model.
    """
    outputs = _embedded(parts, _converted(model, matrix[1], path, parts.opsets), matrix[0])
    return outputs[-1] if hasattr(model, "classes_") else outputs[0]


def transformed_nodes(parts: GraphParts, transforms: Any, matrix: tuple[str, int], path: str) -> str:
    """The name of what fitted transforms make of a matrix, float32 [N, columns].

    They compute in float64, as the library does where it is given such a matrix: so a value that lies on a threshold of
    the trees behind them stays on its side. What cannot be converted so computes in float32.

    Args:
        parts: Gets the nodes.
        transforms: A fitted pipeline of them.
        matrix: The name of its input, and the width of that.
        path: The model's import path, for messages.

    Raises:
        SpecError: skl2onnx is not installed, or does not know one of them.
    """
    made, name = _in_double(transforms, matrix[1], parts.opsets), matrix[0]
    if made is not None:
        name = parts.add("Cast", [name], "doubles", to=_DOUBLE)
    else:
        made = _converted(transforms, matrix[1], path, parts.opsets)
    (output, *_) = _embedded(parts, made, name)
    return parts.add("Cast", [output], "transformed", to=_FLOAT)


def _embedded(parts: GraphParts, made: Any, matrix: str) -> list[str]:
    """Adds a converted graph that reads a matrix, and gives the names of its outputs."""
    from onnx import numpy_helper

    inner = made.graph
    _rename(inner, {}, count())
    parts.add("Identity", [matrix], inner.input[0].name)
    parts.nodes.extend(inner.node)
    parts.constants |= {one.name: numpy_helper.to_array(one) for one in inner.initializer}
    for opset in made.opset_import:
        parts.opsets[opset.domain] = max(opset.version, parts.opsets.get(opset.domain, 0))
    return [str(one.name) for one in inner.output]


def _converted(model: Any, width: int, path: str, opsets: Mapping[str, int]) -> Any:
    require_installed("skl2onnx", "sklearn")
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    known = _tree_conversions()
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    inputs = [("matrix", FloatTensorType([None, width]))]
    try:
        with quiet():
            return convert_sklearn(
                model,
                initial_types=inputs,
                target_opset=dict(opsets),
                options=options,
                custom_conversion_functions=dict.fromkeys(known, _add_trees),
                custom_shape_calculators=known,
            )
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
        raise SpecError(
            f"{path} cannot be converted to ONNX: {type(error).__name__}: {text}",
            expected="an estimator that skl2onnx knows, or one of trees",
            remedy="use sklearn.ensemble.HistGradientBoostingClassifier (or Regressor), RandomForestClassifier, "
            "LogisticRegression, or training.estimator of kind lightgbm",
        ) from error


def _tree_conversions() -> dict[type, Callable[[Any], None]]:
    """The trees that stand inside of other models, and how the shapes of their outputs are found.

    skl2onnx's own conversion sends no null the way that a tree has learnt for it.
    """
    import sklearn.ensemble
    import sklearn.tree
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = {
        "Classifier": calculate_linear_classifier_output_shapes,
        "Regressor": calculate_linear_regressor_output_shapes,
    }
    named = ((sklearn.tree, ("DecisionTree", "ExtraTree")), (sklearn.ensemble, ("RandomForest", "ExtraTrees")))
    return {
        getattr(package, name + kind): shape
        for package, names in named
        for name in names
        for kind, shape in shapes.items()
    }


def _add_trees(scope: Any, operator: Any, container: Any) -> None:
    """Adds the trees of one operator to a graph in the making: what skl2onnx calls in place of its own conversion."""
    from skl2onnx.common.data_types import FloatTensorType

    model, outputs = operator.raw_operator, [one.full_name for one in operator.outputs]
    found = trees_of(model, ())
    if found is None or not isinstance(operator.inputs[0].type, FloatTensorType):
        raise NotImplementedError(f"{type(model).__name__} on what is no float32")
    node = ensemble_node(found.trees, len(found.base), found.base, (operator.inputs[0].full_name, outputs[-1]))
    node.name = scope.get_unique_operator_name("trees")
    container.nodes.append(node)
    container.node_domain_version_pair_sets.add((ML_DOMAIN, container.target_opset_any_domain(ML_DOMAIN)))
    if not hasattr(model, "classes_"):
        return
    best, classes = (scope.get_unique_variable_name(name) for name in ("best", "classes"))
    container.add_initializer(classes, 7, [len(model.classes_)], np.asarray(model.classes_, dtype=np.int64).tolist())
    names = [scope.get_unique_operator_name(name) for name in ("best", "label")]
    container.add_node("ArgMax", [outputs[-1]], [best], name=names[0], axis=1, keepdims=0)
    container.add_node("Gather", [classes, best], [outputs[0]], name=names[1])


def _in_double(transforms: Any, width: int, opsets: Mapping[str, int]) -> Any:
    """The graph of transforms in float64; None where skl2onnx or ONNX Runtime has no such one."""
    require_installed("skl2onnx", "sklearn")
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType
    from sklearn.impute import SimpleImputer

    try:
        with quiet():
            made = convert_sklearn(
                transforms,
                initial_types=[("matrix", DoubleTensorType([None, width]))],
                target_opset=dict(opsets),
                custom_conversion_functions={SimpleImputer: _add_imputer},
                custom_shape_calculators={SimpleImputer: _imputed_shape},
            )
        opened(made.SerializeToString(), SpecError)
    except Exception:  # noqa: BLE001 - libraries raise what they like; there is another way
        return None
    return made


def _imputed_shape(operator: Any) -> None:
    values = np.asarray(operator.raw_operator.statistics_)
    operator.outputs[0].type = type(operator.inputs[0].type)([None, len(values)])


def _add_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Adds an imputer in float64, which ONNX Runtime's own operator does not know."""
    model = operator.raw_operator
    values = np.asarray(model.statistics_, dtype=np.float64)
    if not np.isnan(model.missing_values) or model.add_indicator or np.isnan(values).any():
        raise NotImplementedError("only nulls that become a number")
    (given,) = operator.inputs
    null, number = (scope.get_unique_variable_name(name) for name in ("null", "number"))
    names = [scope.get_unique_operator_name(name) for name in ("null", "imputed")]
    container.add_initializer(number, _DOUBLE, [1, len(values)], values.tolist())
    container.add_node("IsNaN", [given.full_name], [null], name=names[0])
    container.add_node("Where", [null, number, given.full_name], [operator.outputs[0].full_name], name=names[1])


def _rename(graph: Any, outer: Mapping[str, str], numbers: Iterator[int]) -> None:
    """Numbers all names of a graph: skl2onnx takes some from a count that goes on from model to model."""
    names = dict(outer)

    def new(name: str) -> str:
        names[name] = f"inner_{next(numbers)}" if name else ""
        return names[name]

    for one in graph.input:
        one.name = new(one.name)
    for one in graph.initializer:
        one.name = names[one.name] if one.name in names else new(one.name)
    for node in graph.node:
        node.name = ""
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names, numbers)
        node.output[:] = [new(name) for name in node.output]
    for one in graph.output:
        one.name = names[one.name]
    graph.name = "inner"
    del graph.value_info[:]
