"""Saves the network of a package as TorchScript or as an exported program, if it scores like the package."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from tallywright.errors import PackageError, first_line
from tallywright.packaging.predictor import Predictor
from tallywright.training.networks.export import present_inputs
from tallywright.training.networks.rebuilt import rebuilt_network
from tallywright.training.parity import relative_gap
from tallywright.training.user_code.door import user_code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tallywright.packaging.package import Package
    from tallywright.packaging.preprocess import ModelInput
    from tallywright.training.networks.module import ScoringModule

BOUND: Final = 1e-5
"""Of a score of the saved network from one of the package's graph, relative to the largest score where that is above
1: both compute in float32, and sum in orders of their own."""


def save_network(package: Package, file: Path) -> float:
    """Saves the network, as the file's ending says, reads it again, and returns how far its scores are off.

    Raises:
        UsageError: The model is no torch network.
        PackageError: It cannot be saved like that, or what was saved scores otherwise than the package.
    """
    module = rebuilt_network(package)
    inputs, _ = package.parity()
    tensors = _tensors(inputs)
    save = _save_program if file.suffix == ".pt2" else _save_script
    with warnings.catch_warnings():
        # Both ways announce their successors, and tracing warns of constants, which the comparison judges.
        for category in (DeprecationWarning, FutureWarning, torch.jit.TracerWarning):
            warnings.simplefilter("ignore", category)
        try:
            with user_code(package.folder, quiet=True, always=False):
                save(module, tensors, file)
                saved = _load(file)
                gap = _gap(saved, package, inputs)
        except PackageError:
            raise
        except Exception as error:
            raise PackageError(
                f"the network cannot be saved as {file.name}: {first_line(error)}",
                expected="a network of tensor operations alone",
                remedy="use the format onnx, whose graph is the package's own",
            ) from error
    if gap <= BOUND:
        return gap
    raise PackageError(
        f"the network saved as {file.name} scores otherwise than the package, by {gap:.3g}",
        expected=f"at most {BOUND:g} (relative to the largest score)",
        remedy="use the format onnx, whose graph is the package's own",
    )


def _tensors(inputs: ModelInput) -> dict[str, torch.Tensor]:
    present = present_inputs(inputs.numeric, inputs.categorical)
    return {name: torch.from_numpy(np.array(rows, order="C")) for name, rows in present.items()}


def _save_script(module: ScoringModule, tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    with torch.no_grad():
        traced = torch.jit.trace(module, example_kwarg_inputs=dict(tensors), check_trace=False)
    torch.jit.save(traced, str(file))


def _save_program(module: ScoringModule, tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    rows = torch.export.Dim("rows")
    shapes = {name: {0: rows} for name in tensors}
    torch.export.save(torch.export.export(module, (), dict(tensors), dynamic_shapes=shapes), str(file))


def _load(file: Path) -> Any:
    if file.suffix == ".pt2":
        return torch.export.load(str(file)).module()
    return torch.jit.load(str(file), map_location="cpu")


def _gap(saved: Any, package: Package, inputs: ModelInput) -> float:
    """How far the scores are off on the sample: as a whole, its first row, and all but that."""
    predictor = Predictor(package)
    gaps = []
    for rows in (slice(None), slice(0, 1), slice(1, None)):
        part = inputs.take(rows)
        if part.rows:
            with torch.no_grad():
                found = saved(**_tensors(part)).numpy()
            gaps.append(relative_gap(predictor.score(part), found))
    return max(gaps)
