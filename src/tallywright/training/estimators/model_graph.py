"""The graph around an estimator: from the package's inputs to its matrix, from its raw outputs to `score`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from tallywright.training.estimators.tree_graph import ML_DOMAIN
from tallywright.training.scaling import CLIP

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from tallywright.training.objective import Objective
    from tallywright.training.scaling import Scaling

OPSET: Final = 17
ML_OPSET: Final = 3
_IR_VERSION: Final = 8
Link = Literal["identity", "exp", "logistic"]
"""How a raw output becomes a value, or raw outputs become probabilities."""


@dataclass(slots=True)
class GraphParts:
    """Nodes and constants in the making; `numeric` and `categorical` are the numbers of columns."""

    numeric: int
    categorical: int
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=lambda: {"": OPSET, ML_DOMAIN: ML_OPSET})

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node with one output, and returns the name of that."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> str:
        """Adds a constant, and returns its name."""
        self.constants[name] = np.asarray(value, dtype=kind)
        return name

    def plain_matrix(self) -> str:
        """The numeric columns, infinities as null, then the codes of the categorical ones: float32 [N, F + C]."""
        parts = []
        if self.numeric:
            self.add("IsInf", ["numeric"], "infinite")
            parts.append(self.add("Where", ["infinite", self.constant("nan", np.nan), "numeric"], "finite"))
        if self.categorical:
            parts.append(self.add("Cast", ["categorical"], "codes", to=1))
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, "matrix", axis=1)

    def normalised_matrix(self, scaling: Scaling, codes: Sequence[int]) -> str:
        """Normalised columns, null as 0, indicators of null, one-hot categories: float32 [N, D]."""
        parts = []
        if self.numeric:
            self.add("IsNaN", ["numeric"], "null")
            self.add("Sub", ["numeric", self.constant("mean", scaling.mean)], "centred")
            self.add("Div", ["centred", self.constant("spread", scaling.spread)], "divided")
            limits = [self.constant("low", -CLIP), self.constant("high", CLIP)]
            self.add("Clip", ["divided", *limits], "clipped")
            parts.append(self.add("Where", ["null", self.constant("zero", 0.0), "clipped"], "scaled"))
        if scaling.missing:
            self.add("Gather", ["null", self.constant("missing", scaling.missing, np.int64)], "nulls", axis=1)
            parts.append(self.add("Cast", ["nulls"], "indicators", to=1))
        for number, count in enumerate(codes):
            self.add(
                "Gather", ["categorical", self.constant(f"column_{number}", number, np.int64)], f"c_{number}", axis=1
            )
            depth = self.constant(f"depth_{number}", count, np.int64)
            values = self.constant("off_on", [0.0, 1.0])
            parts.append(self.add("OneHot", [f"c_{number}", depth, values], f"hot_{number}", axis=1))
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, "design", axis=1)

    def score_of_raw(self, raw: str, objective: Objective, link: Link) -> None:
        """Ends the graph with `score`, of raw outputs [N, outputs]; the shift of class weights is taken out."""
        if not objective.kind.classifies:
            self.one_column(self.linked(raw, link))
            return
        shifts = objective.shifts
        if shifts and objective.kind.thresholds:
            raw = self.add("Sub", [raw, self.constant("shift", shifts[1] - shifts[0])], "shifted")
        elif shifts:
            raw = self.add("Sub", [raw, self.constant("shift", [shifts])], "shifted")
        if objective.kind.per_class:
            self.add("Softmax", [raw], "score", axis=1)
            return
        self.one_column(self.linked(raw, link))

    def linked(self, raw: str, link: Link) -> str:
        """The values or probabilities of raw outputs."""
        kinds = {"exp": "Exp", "logistic": "Sigmoid"}
        return self.add(kinds[link], [raw], "linked") if link in kinds else raw

    def score_of_shares(self, shares: str, objective: Objective) -> None:
        """Ends the graph with `score`, of probabilities [N, classes]; the shift of class weights is taken out."""
        if objective.shifts:
            weighed = self.add("Div", [shares, self.constant("weights", [objective.weights])], "weighed")
            self.add("ReduceSum", [weighed, self.constant("across", [1], np.int64)], "total", keepdims=1)
            shares = self.add("Div", [weighed, "total"], "corrected")
        # The float32 sum of a forest's shares may be a last bit above 1, and that would be no probability.
        shares = self.add("Clip", [shares, self.constant("none", 0.0), self.constant("all", 1.0)], "within")
        if objective.kind.per_class:
            self.add("Identity", [shares], "score")
            return
        last = self.add("Gather", [shares, self.constant("positive", [1], np.int64)], "of_positive", axis=1)
        self.one_column(last)

    def score_of_values(self, values: str, objective: Objective) -> None:
        """Ends the graph with `score`, of standardised values: the target's own unit."""
        scaled = self.add("Mul", [values, self.constant("scale", objective.scale)], "in_unit")
        self.one_column(self.add("Add", [scaled, self.constant("location", objective.location)], "located"))

    def one_column(self, name: str) -> None:
        """Ends the graph with `score`, of a matrix of one column."""
        self.add("Reshape", [name, self.constant("flat", [-1], np.int64)], "score")

    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs of a package's graph that are there."""
        from onnx import TensorProto, helper

        sides = (
            ("numeric", TensorProto.FLOAT, self.numeric),
            ("categorical", TensorProto.INT64, self.categorical),
        )
        return [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind, width in sides if width]

    def initializers(self) -> list[onnx.TensorProto]:
        """The constants as tensors of a graph."""
        from onnx import numpy_helper

        return [numpy_helper.from_array(value, name) for name, value in self.constants.items()]

    def model(self, outputs: int) -> bytes:
        """The whole model, checked.

        Args:
            outputs: Width of `score`; 1 for one number a row.
        """
        from onnx import TensorProto, checker, helper

        shape = ["rows"] if outputs == 1 else ["rows", outputs]
        graph = helper.make_graph(
            self.nodes,
            "model",
            self.inputs(),
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
            self.initializers(),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        made: onnx.ModelProto = helper.make_model(
            graph, producer_name="tallywright", opset_imports=opsets, ir_version=_IR_VERSION
        )
        checker.check_model(made)
        content: bytes = made.SerializeToString(deterministic=True)
        return content
