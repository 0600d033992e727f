"""The metrics of slices in a package's evaluation: every value with enough rows, null being one of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tallywright.training.evaluate import SLICE_ROWS, measure_slices


def test_rows_without_a_value_are_a_slice_of_their_own() -> None:
    values = ["null"] * SLICE_ROWS + [None] * (SLICE_ROWS + 1) + ["few"]
    table = pa.table({"region": pa.array(values, pa.string())})
    scores = np.linspace(0, 1, len(values))
    found = measure_slices(lambda _, mine: {"mean": float(mine.mean())}, table, scores, scores, ["region"])
    assert {name: figures["rows"] for name, figures in found.items()} == {
        "slice region=null": SLICE_ROWS, "slice region is null": SLICE_ROWS + 1,
    }  # fmt: skip
    assert found["slice region is null"]["mean"] > found["slice region=null"]["mean"]
