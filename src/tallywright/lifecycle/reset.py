"""Starting over: what a model has made is found, shown and deleted; raw files, specs and other models stay.

Tables go last, and among them the one that names the registered versions: a reset that was interrupted is repeated.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.data.storage.filesystem import is_disk, storage_errors
from tallywright.data.upkeep.removal import remove_table, table_folders
from tallywright.errors import UsageError
from tallywright.lifecycle.small_tables import tables_of
from tallywright.records import Record
from tallywright.registry.removal import OwnInRegistry, own_in_registry, remove_from_registry
from tallywright.registry.versions_table import recorded_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import Project

_LAST: Final = "versions"
_GLOB: Final = "*?["


class ResetPlan(Record):
    """What a reset deletes.

    Attributes:
        model: Whose.
        lake: The root of the lake.
        tables: Names of tables, in the order of their deletion.
        tracking: The MLflow store.
        versions: Numbers of registered versions.
        runs: Ids of MLflow runs.
        folders: Run folders, Data Docs and cached packages on this machine.
    """

    model: str
    lake: str
    tables: tuple[str, ...]
    tracking: str
    versions: tuple[int, ...]
    runs: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """True when there is nothing to delete."""
        return not (self.tables or self.versions or self.runs or self.folders)


def plan_reset(project: Project, lake: Lake) -> ResetPlan:
    """Finds what the model has made; deletes nothing.

    Raises:
        UsageError: A place of the model holds files that one of its sources reads.
        TrackingError: MLflow is missing or away.
        StorageError: The lake cannot be read.
    """
    spec = project.spec
    digests = {row.package_digest for row in recorded_versions(lake, spec).values()}
    own = own_in_registry(project, digests)
    tables = tables_of(spec, table_folders(lake))
    tables.sort(key=lambda name: (name == spec.table(_LAST), name))
    folders = [folder for folder in _folders(project, digests) if folder.is_dir()]
    _require_no_raw_files(project, [*folders, *(Path(lake.root, name) for name in tables if is_disk(lake.root))])
    return ResetPlan(
        model=spec.name,
        lake=lake.root,
        tables=tuple(tables),
        tracking=project.environment.tracking.uri,
        versions=own.versions,
        runs=own.runs,
        folders=tuple(map(str, folders)),
    )


def reset(project: Project, lake: Lake, plan: ResetPlan) -> None:
    """Deletes what the plan names, and nothing else.

    Raises:
        TrackingError: MLflow is away.
        StorageError: Something cannot be deleted; the same reset goes on where this one ended.
    """
    remove_from_registry(project, OwnInRegistry(plan.versions, plan.runs))
    for folder in map(Path, plan.folders):
        with storage_errors(f"deleting {folder}"):
            shutil.rmtree(folder) if not folder.is_symlink() else folder.unlink()
    for table in plan.tables:
        remove_table(lake, table)


def _folders(project: Project, digests: Iterable[str]) -> Iterator[Path]:
    storage, name = project.environment.storage, project.spec.name
    yield Path(storage.work) / "runs" / name
    yield Path(storage.work) / "data_docs" / name
    for digest in sorted(digests):
        yield Path(storage.cache) / digest


def _require_no_raw_files(project: Project, places: Iterable[Path]) -> None:
    raw = {name: _static(project.folder / source.path) for name, source in project.spec.data.sources.items()
           if source.package is None}  # fmt: skip
    for place in (place.resolve() for place in places):
        for name, path in raw.items():
            if place == path or place in path.parents or path in place.parents:
                raise UsageError(
                    f"{place} would be deleted, and data.sources.{name} reads files there",
                    expected="raw files outside of the lake, the work folder and the cache",
                    remedy="move them, or delete what is not needed by hand",
                )


def _static(path: Path) -> Path:
    """The part of a path before its first glob, without links."""
    parts: list[str] = []
    for part in path.parts:
        if any(letter in part for letter in _GLOB):
            break
        parts.append(part)
    return Path(*parts).resolve()
