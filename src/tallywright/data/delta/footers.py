"""Parquet footers: read once, digested and parsed. With the checksums of the pages they tell whether a file changed.

A footer has the place, the size and the bounds of every page, so a file of other rows has another one; a page that was
damaged afterwards has the same, and is found by its checksum when it is read. A small file is digested as a whole.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tallywright.data.storage.filesystem import filesystem_of, is_disk
from tallywright.records import CommittedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyarrow import fs

_TAIL: Final = 1 << 18
"""So many last bytes are read at once; of a file that is no larger all bytes are digested."""
_END: Final = 8
"""The last bytes: the length of the footer, and Parquet's mark."""
_MARK: Final = b"PAR1"


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of a file of `size` bytes; `digest` is the sha256 (hex) of the footer, of a small file as a whole."""

    size: int
    digest: str
    metadata: pq.FileMetaData

    def committed(self, path: str, *, checksums: bool) -> CommittedFile:
        """The file as a commit names it."""
        return CommittedFile(
            path=path, size=self.size, rows=self.metadata.num_rows, footer=self.digest, checksums=checksums
        )


def read_footer(address: str, options: Mapping[str, str]) -> Footer:
    """The footer of a file, which is opened once.

    Raises:
        OSError: The file is gone or cannot be read.
        pyarrow.ArrowInvalid: It is not a whole Parquet file.
    """
    if is_disk(address):
        with Path(address).open("rb") as file:
            return _footer(file.seek(0, os.SEEK_END), lambda start: (file.seek(start), file.read())[1])
    filesystem, inner = filesystem_of(address, options)
    return footer_at(filesystem, inner)


def footer_at(filesystem: fs.FileSystem, path: str) -> Footer:
    """As `read_footer`, of a path in a filesystem."""
    with filesystem.open_input_file(path) as stream:
        size = stream.size()
        return _footer(size, lambda start: bytes(stream.read_at(size - start, start)))


def _footer(size: int, read_from: Callable[[int], bytes]) -> Footer:
    tail = read_from(max(0, size - _TAIL))
    length = int.from_bytes(tail[-_END : -len(_MARK)], "little") + _END
    if tail[-len(_MARK) :] != _MARK or length > size:
        raise pa.ArrowInvalid("it does not end with a Parquet footer")
    if length > len(tail):
        tail = read_from(size - length)
    footer = tail[-length:]
    digested = tail if size <= _TAIL else footer
    return Footer(size, hashlib.sha256(digested).hexdigest(), pq.read_metadata(pa.BufferReader(footer)))
