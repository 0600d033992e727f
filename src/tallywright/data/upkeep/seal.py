"""Seals: digests of what a sound table's own checks cannot tell, kept by `verify` and by the runs between two of them.

A commit does not name its own file in the log, nor the newest version that there should be; and files of before have no
checksums. What was sound at the last verification, and what a run wrote since, has to be the same at the next one. A
run extends the seal by the commits that are newer than it, and never seals again what is sealed already: damage that
came in between stays visible.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from pyarrow import fs

from tallywright.data.delta.damage import MADE_ONCE
from tallywright.data.storage.filesystem import filesystem_of, storage_errors
from tallywright.records import StoredPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.data.delta.lake import Lake
    from tallywright.data.upkeep.table_check import TableCheck

_COMMIT: Final = re.compile(r"_delta_log/(\d{20})\.json")
_IDENTITY: Final = re.compile(rb'"metaData":\{"id":"([^"]+)"')
_DIGITS: Final = 16
_MOST: Final = 1000
"""Commits of a table without a seal that a run seals at most, the newest ones."""


class TableSeal(StoredPart):
    """What a table was: its version, and short digests of the files of its log and of data files without checksums.

    Attributes:
        version: The newest version that is sealed.
        files: Digests by path.
        table_id: The id in the table's metadata, which tells it from one that was made anew; empty where unknown.
        verified: The newest version that a verification found sound, -1 where none did; None for `version`.
    """

    version: int
    files: dict[str, str]
    table_id: str = ""
    verified: int | None = None

    def extended(self, newer: TableSeal) -> TableSeal:
        """With what a run has sealed since; what was sealed first stands."""
        return TableSeal(
            version=max(self.version, newer.version),
            files={**newer.files, **self.files},
            table_id=self.table_id or newer.table_id,
            verified=self.version if self.verified is None else self.verified,
        )

    def when(self, path: str) -> str:
        """When a file was sealed, in words."""
        match = _COMMIT.fullmatch(path)
        by_run = match is not None and self.verified is not None and int(match[1]) > self.verified
        return "when the run that wrote it ended" if by_run else "at the last verification"


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
        return TableSeal(
            version=version,
            files={path: _digest(folder.content(path)) for path in paths},
            table_id=str(check.handle.metadata().id),
        )


def newer_commits(lake: Lake, table: str, sealed: int | None) -> TableSeal | None:
    """Seals the commits of a table after a sealed version; None where there are none.

    Only these files are read: of a table to which nobody wrote it is asked whether there is a next one.

    Args:
        lake: Where the table is.
        table: Its name.
        sealed: The newest version that is sealed; None where none is: then all commits are, up to a thousand.

    Raises:
        StorageError: Storage that cannot be read.
    """
    filesystem, inner = filesystem_of(lake.uri(table), lake.options)
    files, identity = {}, ""
    with storage_errors(f"sealing {lake.uri(table)}"):
        version = _first_of(filesystem, f"{inner}/_delta_log") if sealed is None else sealed + 1
        while (content := _content(filesystem, inner, version)) is not None:
            files[_path(version)] = _digest(content)
            found = _IDENTITY.search(content)
            identity = found[1].decode() if found else identity
            version += 1
    return TableSeal(version=version - 1, files=files, table_id=identity, verified=-1) if files else None


def _first_of(filesystem: fs.FileSystem, log: str) -> int:
    """The first commit that a run seals in a table without a seal."""
    entries = filesystem.get_file_info(fs.FileSelector(log, allow_not_found=True))
    versions = sorted(
        int(entry.base_name[:20]) for entry in entries if _COMMIT.fullmatch(f"_delta_log/{entry.base_name}")
    )
    return versions[-_MOST:][0] if versions else 0


def _content(filesystem: fs.FileSystem, table: str, version: int) -> bytes | None:
    try:
        with filesystem.open_input_file(f"{table}/{_path(version)}") as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def _path(version: int) -> str:
    return f"_delta_log/{version:020d}.json"


def is_made_again(check: TableCheck, seal: TableSeal) -> bool:
    """True for another table under the name of a sealed one: it has another id, and none of the sealed commits.

    One whose rows are made of nothing else is never taken for another.

    Raises:
        StorageError: Storage that cannot be read.
    """
    if seal.table_id in ("", str(check.handle.metadata().id)) or check.table.rpartition("__")[2] in MADE_ONCE:
        return False
    with storage_errors(f"verifying {check.lake.uri(check.table)}"):
        commits = check.folder.commits().values()
        return not any(seal.files.get(path) == _digest(check.folder.content(path)) for path in commits)


def broken(check: TableCheck, seal: TableSeal) -> Iterator[str]:
    """Yields what has changed since a table was sealed, although it never changes.

    Raises:
        StorageError: Storage that cannot be read.
    """
    folder, version = check.folder, check.handle.version()
    if version < seal.version:
        yield f"its log ends with version {version}, {seal.when(_path(seal.version))} it had {seal.version}"
    with storage_errors(f"verifying {check.lake.uri(check.table)}"):
        commits = folder.commits()
        there = {*commits.values(), *folder.checkpoints(), *check.live()}
        for path, digest in seal.files.items():
            match = _COMMIT.fullmatch(path)
            if path in there:
                if _digest(folder.content(path)) != digest:
                    yield f"the file {path} is not what it was {seal.when(path)}"
            elif match and min(commits, default=0) < int(match[1]) <= version:
                yield f"the file {path}, which was there {seal.when(path)}, is gone"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
