"""Removal of whole tables: first the log, so that no reader sees half a table, then the files; nothing outside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyarrow import fs

from tallywright.data.storage.filesystem import filesystem_of, is_disk, storage_errors
from tallywright.errors import UsageError

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake

_LOG: Final = "_delta_log"
_REMOVED: Final = "_removed_log"


def table_folders(lake: Lake) -> list[str]:
    """The names of all folders directly below the lake's root, tables or what an interrupted removal has left."""
    with storage_errors(f"listing {lake.root}"):
        filesystem, inner = filesystem_of(lake.root, lake.options)
        entries = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    return sorted(entry.base_name for entry in entries if entry.type == fs.FileType.Directory)


def remove_table(lake: Lake, table: str) -> None:
    """Deletes the folder of a table; of a link to a folder, the link alone. One that is gone already is no error.

    Raises:
        UsageError: A name that is no folder directly below the lake's root.
        StorageError: Files that cannot be deleted.
    """
    if table in ("", ".", "..") or "/" in table or "\\" in table:
        raise UsageError(f"{table!r} is no table", expected="the name of a folder directly below the lake's root")
    with storage_errors(f"deleting {lake.uri(table)}"):
        if is_disk(lake.root):
            _remove_from_disk(Path(lake.root, table))
            return
        filesystem, inner = filesystem_of(lake.uri(table), lake.options)
        for folder in (f"{inner}/{_LOG}", inner):
            if filesystem.get_file_info(folder).type == fs.FileType.Directory:
                filesystem.delete_dir(folder)


def _remove_from_disk(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
        return
    if not folder.is_dir():
        return
    if (folder / _LOG).is_dir():
        shutil.rmtree(folder / _REMOVED, ignore_errors=True)
        (folder / _LOG).rename(folder / _REMOVED)
    shutil.rmtree(folder)
