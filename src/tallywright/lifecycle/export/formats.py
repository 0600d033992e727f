"""What a version can be packaged as: each format is one function that fills a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError
from tallywright.lifecycle.context import package_of
from tallywright.lifecycle.export.distribution import write_docker_context, write_wheel
from tallywright.lifecycle.export.exported import Exported
from tallywright.lifecycle.export.graphs import write_onnx, write_pt2, write_torchscript
from tallywright.lifecycle.export.output import new_folder, require_free
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions import find
from tallywright.registry.versions_table import known_versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.records import ModelRef
    from tallywright.spec import Project

FORMATS: Final[dict[str, Callable[[Exported, Path], dict[str, Any]]]] = {
    "onnx": write_onnx,
    "torchscript": write_torchscript,
    "pt2": write_pt2,
    "wheel": write_wheel,
    "docker": write_docker_context,
}
"""Each fills a folder and returns what else there is to say about it."""
_RUNS_CODE: Final = frozenset({"torchscript", "pt2"})
"""Formats for which the network file in the package is run."""


def package_version(
    project: Project, lake: Lake, version: int, *, form: str, output: Path, force: bool = False
) -> dict[str, Any]:
    """Writes a registered version to the folder `output` and returns what it wrote.

    Raises:
        UsageError: No such version, it cannot be packaged like this, or the folder is taken.
        PackageError: What the registry holds is not what was registered, or the export differs from the package.
        TrackingError: MLflow is needed, and away.
    """
    require_free(output, force=force)
    package = package_of(project, _registered(project, lake, version, form))
    record = {"model": project.spec.name, "version": version, "digest": package.digest, "format": form}
    with new_folder(output, record, force=force) as folder:
        found = FORMATS[form](Exported(package, version), folder)
    files = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    return {**record, "output": str(output), "files": files, **found}


def _registered(project: Project, lake: Lake, version: int, form: str) -> ModelRef:
    """The version as this lake knows it, else as the registry's tags have it, whom no code is run for.

    Raises:
        UsageError: The registry does not have it either; or the format runs code of the version.
    """
    entries = PromotionLog(lake, project.spec).entries()
    row = known_versions(lake, project.spec, entries).get(version)
    if row is not None:
        return row.as_ref(project.spec)
    ref = find(project, version)
    if form in _RUNS_CODE:
        raise UsageError(
            f"version {version} of {ref.name} is not recorded in this lake: only the registry says which package it is",
            expected=f"a recorded version, where a format runs the version's code ({', '.join(sorted(_RUNS_CODE))})",
            remedy="use the format onnx, wheel or docker, or the lake in which it was registered",
        )
    return ref
