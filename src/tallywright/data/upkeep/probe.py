"""Probes a lake's object store: that it can be written, and that of two commits of one version only one succeeds."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from tallywright.data.delta.lake import Change, Lake
from tallywright.data.storage.filesystem import filesystem_of, storage_errors
from tallywright.errors import CommitConflictError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def probe_store(lake: Lake) -> None:
    """Writes a small table beside the lake's own, commits to it twice from one version, and removes it again.

    Raises:
        StorageError: The store cannot be reached or written, or it accepted both commits.
    """
    table = f"_probe_{uuid.uuid4().hex}"
    try:
        _race(lake, table)
    finally:
        _remove(lake, table)


def _race(lake: Lake, table: str) -> None:
    first, second = (Change(table, pa.table({"writer": [name]}), {"writer": name}) for name in ("first", "second"))
    base, stale = lake.handle(first), lake.open(table)
    lake.commit(first, base)
    try:
        lake.commit(second, stale)
    except CommitConflictError:
        return
    raise StorageError(
        f"{lake.root} lets two writers overwrite each other's commits",
        expected="a store that honours conditional puts (If-None-Match: *)",
        remedy="use another store (or a newer version of it), or set AWS_S3_LOCKING_PROVIDER=dynamodb",
    )


def _remove(lake: Lake, table: str) -> None:
    filesystem, inner = filesystem_of(lake.uri(table), lake.options)
    with storage_errors(f"removing {lake.uri(table)}"):
        found = filesystem.get_file_info(fs.FileSelector(inner, recursive=True, allow_not_found=True))
        for path in _files(found):
            filesystem.delete_file(path)
        if any(entry.type == fs.FileType.Directory for entry in found):
            filesystem.delete_dir(inner)


def _files(found: list[fs.FileInfo]) -> Iterator[str]:
    return (entry.path for entry in found if entry.type == fs.FileType.File)
