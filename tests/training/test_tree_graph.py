"""Trees as one operator: thresholds keep their sides, sets of codes are chains with one way out."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.training.estimators.tree_graph import (
    LEAF,
    LEQ,
    LT,
    Tree,
    ensemble_node,
    leaf_tree,
    rounded_down,
    with_members,
)

pytest.importorskip("onnx")

FLOATS = st.floats(width=32, allow_nan=False)


@given(FLOATS, FLOATS, st.floats(allow_nan=False), st.booleans())
def test_no_float32_changes_its_side_of_a_threshold(value, near, threshold, between):
    """Thresholds are halfway between neighbours, as libraries choose them, or anywhere."""
    wide = float(near) + (float(np.nextafter(np.float32(near), np.float32(np.inf))) - float(near)) / 2
    limit = wide if between and np.isfinite(wide) else threshold
    with np.errstate(over="ignore"):
        kept = rounded_down(np.array([limit]))[0]
    for one in (np.float32(value), np.float32(near), np.nextafter(np.float32(near), np.float32(np.inf))):
        assert (float(one) <= limit) == (one <= kept)


def run(trees, rows, targets=1, base=(0.0,)):
    from onnx import TensorProto, helper

    node = ensemble_node(trees, targets, base, ("x", "y"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", rows.shape[1]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", targets])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows})[0]


def stump(mode, *, missing=False, target=0):
    """One comparison of the first column with 1."""
    return Tree(
        mode=np.array([mode, LEAF, LEAF], dtype=np.uint8),
        feature=np.zeros(3, dtype=np.int64),
        threshold=np.array([1, 0, 0], dtype=np.float32),
        true=np.array([1, 0, 0]),
        false=np.array([2, 0, 0]),
        missing=np.array([missing, False, False]),
        values=np.array([[0.0], [10.0], [20.0]]),
        target=target,
    )


def test_comparisons_and_missing_values_go_their_way():
    rows = np.array([[0.5], [1.0], [1.5], [np.nan]], dtype=np.float32)
    assert run([stump(LEQ)], rows)[:, 0].tolist() == [10, 10, 20, 20]
    assert run([stump(LT, missing=True)], rows)[:, 0].tolist() == [10, 20, 20, 10]
    both = run([stump(LEQ), stump(LT, target=1), leaf_tree([0.5], 1)], rows, targets=2, base=(1.0, 2.0))
    assert both.tolist() == [[11, 12.5], [11, 22.5], [21, 22.5], [21, 22.5]]


@given(st.sets(st.integers(0, 70), max_size=40))
def test_the_members_of_a_set_go_one_way_and_no_other_code(codes):
    tree = with_members(stump(LEQ), {0: sorted(codes)})
    rows = np.arange(80, dtype=np.float32).reshape(-1, 1)
    expected = [10.0 if code in codes else 20.0 for code in range(80)]
    assert run([tree], rows)[:, 0].tolist() == expected
