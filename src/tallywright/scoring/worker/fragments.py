"""Cuts a day's input into fragments (row groups of one file) and splits (fragments that become one staged part).

The cut depends on the files alone, never on the engine or the number of workers. Parts are listed and removed here too,
through Arrow's filesystems; `options` are the storage options of the lake, by delta-rs' names.
"""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from tallywright.data.delta.damage import damage_of, damaged
from tallywright.data.delta.footers import read_footer
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import StorageError
from tallywright.records import Record
from tallywright.score_period import table_of_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tallywright.records import CommittedFile

SPLIT_ROWS = 524_288
"""About this many rows become one part: a small day is one file, a large one keeps every core busy."""


class Fragment(Record):
    """A range of row groups of one input file: `first` up to, not including, `last`."""

    path: str
    first: int
    last: int
    rows: int


class InputSplit(Record):
    """Fragments that are scored one after the other, in input order, into one part."""

    index: int
    fragments: tuple[Fragment, ...]

    @property
    def rows(self) -> int:
        """How many rows the part must have."""
        return sum(fragment.rows for fragment in self.fragments)


def fragments_of(
    path: str,
    *,
    target_rows: int = SPLIT_ROWS,
    options: Mapping[str, str] | None = None,
    committed: CommittedFile | None = None,
) -> Iterator[Fragment]:
    """Cuts one Parquet file at row group boundaries into fragments of up to `target_rows` (one group at least).

    Raises:
        StorageError: The file cannot be reached.
        IntegrityError: It is gone, is not a Parquet file, or another one than was committed.
    """
    first, rows = 0, 0
    sizes = _row_group_sizes(path, options or {}, committed)
    for group, size in enumerate(sizes):
        if rows and rows + size > target_rows:
            yield Fragment(path=path, first=first, last=group, rows=rows)
            first, rows = group, 0
        rows += size
    if rows:
        yield Fragment(path=path, first=first, last=len(sizes), rows=rows)


def plan_splits(
    paths: Sequence[str],
    *,
    target_rows: int = SPLIT_ROWS,
    options: Mapping[str, str] | None = None,
    committed: Mapping[str, CommittedFile] | None = None,
) -> tuple[InputSplit, ...]:
    """The splits of a day, in input order; files are taken in the order of their names, empty ones vanish.

    Args:
        paths: The absolute addresses of the files.
        target_rows: About this many rows become one split.
        options: Storage options of the lake.
        committed: By address, the files as they were committed: each is compared by its size and its footer.

    Raises:
        TallyError: As `fragments_of`.
    """
    known = committed or {}
    splits: list[InputSplit] = []
    waiting: list[Fragment] = []
    for path in sorted(paths, key=lambda path: PurePosixPath(path).name):
        for fragment in fragments_of(path, target_rows=target_rows, options=options, committed=known.get(path)):
            if waiting and _rows(waiting) + fragment.rows > target_rows:
                splits.append(InputSplit(index=len(splits), fragments=tuple(waiting)))
                waiting = []
            waiting.append(fragment)
    if waiting:
        splits.append(InputSplit(index=len(splits), fragments=tuple(waiting)))
    return tuple(splits)


def _rows(fragments: Iterable[Fragment]) -> int:
    return sum(fragment.rows for fragment in fragments)


def _row_group_sizes(path: str, options: Mapping[str, str], committed: CommittedFile | None) -> list[int]:
    table, _ = table_of_path(path)
    try:
        with damage_of(table, path):
            footer = read_footer(path, options)
    except OSError as error:
        raise StorageError(
            f"the input file {path} cannot be read: {cause_of(error)}",
            expected="storage that can be read",
            remedy="check the storage, then run it again",
        ) from error
    if committed is not None and (footer.size, footer.digest) != (committed.size, committed.footer):
        raise damaged(table, path, "it is another file than was committed")
    return [footer.metadata.row_group(group).num_rows for group in range(footer.metadata.num_row_groups)]


def sizes_of(paths: Iterable[str], options: Mapping[str, str]) -> dict[str, int | None]:
    """The size in bytes of each file; None where there is no such file."""
    sizes: dict[str, int | None] = {}
    for path in paths:
        filesystem, inner = filesystem_of(path, options)
        info = filesystem.get_file_info(inner)
        sizes[path] = info.size if info.type == fs.FileType.File else None
    return sizes


def discard(paths: Iterable[str], options: Mapping[str, str]) -> None:
    """Deletes uncommitted files; what cannot be deleted is left for maintenance."""
    for path in paths:
        filesystem, inner = filesystem_of(path, options)
        with contextlib.suppress(OSError, pa.ArrowException):
            filesystem.delete_file(inner)


def discard_run(folders: Iterable[str], run: str, options: Mapping[str, str]) -> int:
    """Deletes the files of a run in these folders; what cannot be deleted is left for maintenance.

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
