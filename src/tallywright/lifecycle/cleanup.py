"""Deletes what runs left on this machine's disk: run folders, and scratch of runs that were killed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.data.etl.sources import staged_files
from tallywright.data.etl.staged import StagedDigests
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from tallywright.spec import Project

_STAGED_KEPT: Final = 2
"""Staged files of a source: the newest, and the one before it, which a run that is under way may be reading."""


class CleanupCounts(Record):
    """What is deleted on this machine, or in a dry run to be deleted.

    The numbers of folders of runs, of half-copied packages, of scratch of ingest and of staged raw files; the bytes of
    them all.
    """

    runs: int
    packages: int
    scratch: int
    raw: int = 0
    freed_bytes: int = 0


def clean_up(
    project: Project, now: datetime, *, retention: timedelta, orphan_age: timedelta, dry_run: bool = False
) -> CleanupCounts:
    """Deletes run folders that nobody has touched since `retention`, and scratch untouched since `orphan_age`.

    Of the staged files of each source only those that were used last stay: raw files that grow every day would take
    quadratic space. They are a cache; one that is missing is staged again.
    """
    storage = project.environment.storage
    work, cache = Path(storage.work), Path(storage.cache)
    runs = _older(_children(work / "runs" / project.spec.name), now - retention)
    # a package is entered by renaming a folder whose name begins with a dot
    packages = _older((path for path in _children(cache) if path.name.startswith(".")), now - orphan_age)
    raw = (path for path in _children(work / "raw") if path.name.startswith("."))
    scratch = _older([*raw, *_children(work / "spill")], now - orphan_age)
    staged = [file for found in staged_files(work) for file in found[_STAGED_KEPT:]]
    scratch += _older(StagedDigests(work / "raw", cache).unneeded(), now - orphan_age)
    unwanted = (*runs, *packages, *scratch, *staged)
    freed = sum(_size(path) for path in unwanted)
    if not dry_run:
        for path in unwanted:
            _delete(path)
    return CleanupCounts(
        runs=len(runs), packages=len(packages), scratch=len(scratch), raw=len(staged), freed_bytes=freed
    )


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


def _size(path: Path) -> int:
    """The bytes of a file, or of all files of a tree."""
    files = [path] if not path.is_dir() or path.is_symlink() else [one for one in path.rglob("*") if one.is_file()]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
