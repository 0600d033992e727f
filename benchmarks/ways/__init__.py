"""Ways to score the same day, each ready to be repeated; a new way is one function and one line in `WAYS`."""

from __future__ import annotations

from typing import Final

WAYS: Final = {
    "tallywright local": "plain:local",
    "tallywright spark direct, local[2]": "spark:direct",
    "tallywright spark direct, standalone": "spark:direct_on_cluster",
    "tallywright spark engine, local[2]": "spark:engine",
    "hand-written mapInArrow + Delta": "spark:map_in_arrow",
    "mlflow.pyfunc.spark_udf + Delta": "spark:pyfunc_udf",
    "tallywright beam, FnApiRunner": "beam:fn_api",
    "tallywright beam, Prism": "beam:prism",
    "hand-written Beam job, its reader and writer": "beam:by_hand",
    "hand-written Beam job, all in one DoFn": "beam:by_hand_in_one",
    "hand-written Arrow + ONNX Runtime, one process": "plain:by_hand",
}
"""Name -> module and function: a function takes a `World`, and yields (as a context manager) what scores it once."""
