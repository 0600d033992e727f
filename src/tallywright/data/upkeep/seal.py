"""Seals: digests of what a sound table's own checks cannot tell, kept by `verify` until the next time.

A commit does not name its own file in the log, nor the newest version that there should be; and files of before have no
checksums. What was sound at the last verification has to be the same at the next one.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from tallywright.data.storage.filesystem import storage_errors
from tallywright.records import StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.data.upkeep.table_check import TableCheck

_COMMIT: Final = re.compile(r"_delta_log/(\d{20})\.json")
_DIGITS: Final = 16


class TableSeal(StoredPart):
    """What a table was: its version, and short digests of the files of its log and of data files without checksums."""

    version: int
    files: dict[str, str]


def seal_of(check: TableCheck) -> TableSeal:
    """Seals a table that was found sound.

    Raises:
        StorageError: Storage that cannot be read.
    """
    folder, version = check.folder, check.handle.version()
    with storage_errors(f"sealing {check.lake.uri(check.table)}"):
        replay = check.replay()
        known = {path for path, file in replay.expected.items() if file is not None and file.checksums}
        plain = [path for path in check.live() if path not in known]
        commits = [path for number, path in folder.commits().items() if number <= version]
        paths = [*commits, *folder.checkpoints(), *plain]
        return TableSeal(version=version, files={path: _digest(folder.content(path)) for path in paths})


def broken(check: TableCheck, seal: TableSeal) -> Iterator[str]:
    """Yields what has changed since a table was sealed, although it never changes.

    Raises:
        StorageError: Storage that cannot be read.
    """
    folder, version = check.folder, check.handle.version()
    if version < seal.version:
        yield f"its log ends with version {version}, at the last verification it had {seal.version}"
    with storage_errors(f"verifying {check.lake.uri(check.table)}"):
        commits = folder.commits()
        there = {*commits.values(), *folder.checkpoints(), *check.live()}
        for path, digest in seal.files.items():
            match = _COMMIT.fullmatch(path)
            if path in there:
                if _digest(folder.content(path)) != digest:
                    yield f"the file {path} is not what it was at the last verification"
            elif match and min(commits, default=0) < int(match[1]) <= version:
                yield f"the file {path} is gone since the last verification"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
