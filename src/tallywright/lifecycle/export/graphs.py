"""A version as a graph for other runtimes, with the data of its preprocessing beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError
from tallywright.packaging.package import INPUT_SCHEMA, ONNX
from tallywright.training.user_code.recorded import recorded_network

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.lifecycle.export.exported import Exported

_DATA: Final = ("preprocess.json", "postprocess.json", INPUT_SCHEMA, "output_schema.json")
"""From a row to the graph's inputs, and from its score to the output columns."""


def write_onnx(exported: Exported, folder: Path) -> dict[str, Any]:
    """The graph of the package, byte for byte."""
    (folder / ONNX).write_bytes(exported.package.read(ONNX))
    _write_data(exported, folder, ONNX, gap=None)
    return {}


def write_torchscript(exported: Exported, folder: Path) -> dict[str, Any]:
    """The network as TorchScript."""
    return _write_network(exported, folder, "model.pt")


def write_pt2(exported: Exported, folder: Path) -> dict[str, Any]:
    """The network as an exported program of torch."""
    return _write_network(exported, folder, "model.pt2")


def _write_network(exported: Exported, folder: Path, name: str) -> dict[str, Any]:
    """Builds the network again, saves it, and compares what was saved with the package.

    Raises:
        UsageError: The version has no network, or torch is not installed here.
        PackageError: The network cannot be built or saved, or scores otherwise.
    """
    recorded_network(exported.package)
    try:
        from tallywright.training.networks.saved import save_network
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this format needs the package {error.name}, which is not installed in {sys.prefix}",
            expected="an environment with the extra train",
            remedy="pip install 'tallywright[train]'",
        ) from error
    gap = save_network(exported.package, folder / name)
    _write_data(exported, folder, name, gap=gap)
    return {"gap": gap}


def _write_data(exported: Exported, folder: Path, name: str, *, gap: float | None) -> None:
    package = exported.package
    for file in _DATA:
        (folder / file).write_bytes(package.read(file))
    readme = exported.rendered("graph.md.j2", file=name, gap=gap, schema=package.input_schema)
    (folder / "README.md").write_text(readme, encoding="utf-8")
