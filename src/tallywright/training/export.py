"""Exports a torch module to ONNX, and checks that both give the same scores.

The older exporter is used on purpose: it needs no further packages, takes a tenth of a second, and its graph has a
dynamic number of rows. From here on only ONNX Runtime gives scores; torch's differ in the last bit.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import onnxruntime
import torch

from tallywright.errors import PackageError

if TYPE_CHECKING:
    from tallywright.training.network import ScoringModule

OPSET: Final = 17
TOLERANCE: Final = 1e-5
PARITY_ROWS: Final = 512


def export_onnx(module: ScoringModule, numeric: np.ndarray, categorical: np.ndarray) -> bytes:
    """The module as ONNX: inputs `numeric` [N, F] and `categorical` [N, C] (left out without columns), output `score`.

    Args:
        module: On the CPU, in evaluation mode.
        numeric: Rows to trace and compare with, NaN for null; include some nulls.
        categorical: Their category codes.

    Raises:
        PackageError: ONNX Runtime's scores differ from torch's by more than rounding.
    """
    inputs = present_inputs(numeric[:PARITY_ROWS], categorical[:PARITY_ROWS])
    graph = _traced(module, {name: torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in inputs.items()})
    _require_parity(module, graph, inputs)
    return graph


def present_inputs(numeric: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
    """The graph's inputs by name; a matrix without columns is no input."""
    return {name: rows for name, rows in (("numeric", numeric), ("categorical", categorical)) if rows.shape[1]}


def _traced(module: ScoringModule, inputs: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The older exporter announces its successor at every call (as a DeprecationWarning), nothing else.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx|tallywright\.training")
        torch.onnx.export(
            module,
            (),
            file,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["score"],
            dynamic_axes={name: {0: "rows"} for name in (*inputs, "score")},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def _require_parity(module: ScoringModule, graph: bytes, inputs: dict[str, np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        ours = module(**{name: torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in inputs.items()}).numpy()
    theirs = session.run(["score"], inputs)[0]
    scale = max(1.0, float(np.abs(ours).max(initial=0.0)))
    gap = float(np.abs(ours - theirs).max(initial=0.0)) / scale if ours.shape == theirs.shape else float("inf")
    if not gap <= TOLERANCE:
        raise PackageError(
            f"the exported graph differs from the torch network by {gap:.3g} on {len(ours)} rows",
            expected=f"at most {TOLERANCE:g} (relative to the largest score), and shape {ours.shape}",
            remedy="take out of `forward` what depends on the values or the number of rows; only tensor operations "
            "are traced",
        )
