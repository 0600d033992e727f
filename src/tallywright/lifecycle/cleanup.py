"""Deletes what runs left on this machine's disk: run folders, and scratch of runs that were killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from tallywright.spec import Project


class CleanupCounts(Record):
    """The numbers of deleted folders of runs, staged packages and scratch of ingest (in a dry run, to be deleted)."""

    runs: int
    packages: int
    scratch: int


def clean_up(
    project: Project, now: datetime, *, retention: timedelta, orphan_age: timedelta, dry_run: bool = False
) -> CleanupCounts:
    """Deletes run folders that nobody has touched since `retention`, and scratch untouched since `orphan_age`."""
    storage = project.environment.storage
    work, cache = Path(storage.work), Path(storage.cache)
    runs = _older(_children(work / "runs" / project.spec.name), now - retention)
    # a package is entered by renaming a folder whose name begins with a dot
    packages = _older((path for path in _children(cache) if path.name.startswith(".")), now - orphan_age)
    raw = (path for path in _children(work / "raw") if path.name.startswith("."))
    scratch = _older([*raw, *_children(work / "spill")], now - orphan_age)
    if not dry_run:
        for path in (*runs, *packages, *scratch):
            _delete(path)
    return CleanupCounts(runs=len(runs), packages=len(packages), scratch=len(scratch))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _older(paths: Iterable[Path], limit: datetime) -> list[Path]:
    return [path for path in paths if _last_touched(path) < limit.timestamp()]


def _last_touched(path: Path) -> float:
    """The latest change in a tree; a copy brings its original's times along, so the inodes' own time counts too."""
    latest = 0.0
    for entry in (path, *path.rglob("*")):
        try:
            status = entry.lstat()
        except FileNotFoundError:
            continue
        latest = max(latest, status.st_mtime, status.st_ctime)
    return latest


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
