"""What is there of staged parts, and their removal, through Arrow's filesystems, local or object store.

`options` are the storage options of the lake, by delta-rs' names; local paths need none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from tallywright.data.storage.filesystem import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def sizes_of(paths: Iterable[str], options: Mapping[str, str]) -> dict[str, int | None]:
    """The size in bytes of each file; None where there is no such file."""
    sizes: dict[str, int | None] = {}
    for path in paths:
        filesystem, inner = filesystem_of(path, options)
        info = filesystem.get_file_info(inner)
        sizes[path] = info.size if info.type == fs.FileType.File else None
    return sizes


def discard(paths: Iterable[str], options: Mapping[str, str]) -> None:
    """Deletes files that nobody refers to; what cannot be deleted is left for maintenance."""
    for path in paths:
        filesystem, inner = filesystem_of(path, options)
        with contextlib.suppress(OSError, pa.ArrowException):
            filesystem.delete_file(inner)


def discard_run(folders: Iterable[str], run: str, options: Mapping[str, str]) -> int:
    """Deletes the files in these folders whose name has the run's in it; what cannot be deleted is left, as above.

    Returns:
        How many were there.
    """
    found = 0
    for folder in folders:
        filesystem, inner = filesystem_of(folder, options)
        with contextlib.suppress(OSError, pa.ArrowException):
            left = [
                info.path
                for info in filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
                if run in info.base_name
            ]
            found += len(left)
            for path in left:
                filesystem.delete_file(path)
    return found
