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

from tallywright.errors import PackageError, first_line
from tallywright.training.parity import relative_gap

if TYPE_CHECKING:
    from tallywright.training.networks.module import ScoringModule

OPSET: Final = 17
TOLERANCE: Final = 1e-5
PARITY_ROWS: Final = 512
_PIECE: Final = 16_384


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
    graph = exported(module, inputs)
    _require_parity(module, graph, inputs)
    return graph


def present_inputs(numeric: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
    """The graph's inputs by name; a matrix without columns is no input."""
    return {name: rows for name, rows in (("numeric", numeric), ("categorical", categorical)) if rows.shape[1]}


def _tensors(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in inputs.items()}


def exported(module: ScoringModule, inputs: dict[str, np.ndarray]) -> bytes:
    """The module as ONNX, traced with these inputs and compared with nothing."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The older exporter announces its successor at every call (as a DeprecationWarning), nothing else.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx|tallywright\.training")
        torch.onnx.export(
            module,
            (),
            file,
            kwargs=_tensors(inputs),
            input_names=list(inputs),
            output_names=["score"],
            dynamic_axes={name: {0: "rows"} for name in (*inputs, "score")},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def torch_scores(module: ScoringModule, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """The scores of torch itself, computed in pieces that fit into memory."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(numeric), _PIECE):
            inputs = present_inputs(numeric[start : start + _PIECE], categorical[start : start + _PIECE])
            parts.append(module(**_tensors(inputs)))
    scores: np.ndarray = torch.cat(parts).numpy()
    return scores


def gap_between(module: ScoringModule, graph: bytes, inputs: dict[str, np.ndarray]) -> float:
    """The largest difference between the scores of module and graph, see `relative_gap`.

    Raises:
        PackageError: ONNX Runtime cannot run the graph on these rows.
    """
    with torch.no_grad():
        ours = module(**_tensors(inputs)).numpy()
    try:
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        theirs = session.run(["score"], inputs)[0]
    except Exception as error:
        raise PackageError(f"ONNX Runtime cannot run the exported graph: {first_line(error)}") from error
    return relative_gap(ours, theirs)


def _require_parity(module: ScoringModule, graph: bytes, inputs: dict[str, np.ndarray]) -> None:
    gap = gap_between(module, graph, inputs)
    if not gap <= TOLERANCE:
        rows = len(next(iter(inputs.values())))
        raise PackageError(
            f"the exported graph differs from the torch network by {gap:.3g} on {rows} rows",
            expected=f"at most {TOLERANCE:g} (relative to the largest score)",
            remedy="take out of `forward` what depends on the values or the number of rows; only tensor operations "
            "are traced",
        )
