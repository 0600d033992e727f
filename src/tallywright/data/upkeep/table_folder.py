"""The folder below a Delta table: which data files lie in it, and which of them the log names."""

from __future__ import annotations

import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pa_fs

from tallywright.data.delta.log_damage import COMMIT, LAST_CHECKPOINT, names_nothing
from tallywright.data.storage.filesystem import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

RUNS: Final = "_tallywright"
"""Below a table: a folder for each run whose workers tell the driver by files; no reader looks there."""
_LOG: Final = "_delta_log"
_COMMIT: Final = re.compile(r"\d{20}(\.\d{20}\.compacted)?\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint\.[\w.-]*parquet")
_READERS: Final = 8


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A data file as the storage has it; `path` is relative to the table."""

    path: str
    size: int
    modified: datetime


class TableFolder:
    """One table's folder, on a local disk or in an object store; every path is relative to it."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        self._uri = uri
        self._options = dict(options)

    @cached_property
    def filesystem(self) -> pa_fs.FileSystem:
        """The folder as a filesystem of its own."""
        filesystem, inner = filesystem_of(self._uri, self._options)
        return pa_fs.SubTreeFileSystem(inner, filesystem)

    def data_files(self) -> list[StoredFile]:
        """All Parquet files outside folders and files that Delta hides (`_…`, `.…`), committed or not."""
        return [
            StoredFile(_relative(entry.path), entry.size, entry.mtime)
            for entry in self._entries("")
            if entry.path.endswith(".parquet") and not _hidden(_relative(entry.path))
        ]

    def run_files(self) -> list[StoredFile]:
        """Outcome files of workers, left by a driver that was killed or still runs."""
        return [StoredFile(_relative(entry.path), entry.size, entry.mtime) for entry in self._entries(RUNS)]

    def named(self) -> set[str]:
        """The files that any commit still in the log adds or removes."""
        commits = [path for path in self._log() if _COMMIT.fullmatch(PurePosixPath(path).name)]
        with ThreadPoolExecutor(_READERS) as pool:
            return {name for names in pool.map(self._names_in, commits) for name in names}

    def commits(self) -> dict[int, str]:
        """The paths of the log's commits by version."""
        names = (path for path in self._log() if COMMIT.fullmatch(PurePosixPath(path).name))
        return {int(PurePosixPath(path).stem): path for path in sorted(names)}

    def checkpoints(self) -> list[str]:
        """The paths of the log's checkpoints."""
        return [path for path in self._log() if _CHECKPOINT.fullmatch(PurePosixPath(path).name)]

    def hints_at_nothing(self) -> bool:
        """True where the log's `_last_checkpoint` names a checkpoint that is not there."""
        paths = self._log()
        hint = next((path for path in paths if PurePosixPath(path).name == LAST_CHECKPOINT), None)
        names = [PurePosixPath(path).name for path in paths]
        return hint is not None and names_nothing(self.content(hint), names)

    def content(self, path: str) -> bytes:
        """All bytes of a small file."""
        with self.filesystem.open_input_file(path) as stream:
            return bytes(stream.read())

    def oldest_version(self) -> int:
        """The oldest version that the log can still build."""
        names = [PurePosixPath(path).name for path in self._log()]
        if f"{0:020d}.json" in names:
            return 0
        return min(_checkpoints(names), default=0)

    def last_checkpoint(self) -> int:
        """The version of the newest checkpoint; -1 when there is none."""
        return max(_checkpoints(PurePosixPath(path).name for path in self._log()), default=-1)

    def create(self, path: str) -> pa.NativeFile:
        """A new file to be written, in a folder where there are files already."""
        return self.filesystem.open_output_stream(path)

    def discard(self, path: str) -> None:
        """Deletes an uncommitted file; one that cannot be deleted is an orphan, and found later."""
        with contextlib.suppress(OSError, pa.ArrowException):
            self.filesystem.delete_file(path)

    def delete(self, files: Iterable[StoredFile]) -> list[StoredFile]:
        """Deletes files; returns those that this call has deleted (another process may have been faster)."""
        deleted = []
        for file in files:
            try:
                self.filesystem.delete_file(file.path)
            except FileNotFoundError:
                continue
            deleted.append(file)
        for run in {str(PurePosixPath(file.path).parent) for file in deleted if file.path.startswith(f"{RUNS}/")}:
            with contextlib.suppress(OSError):
                if not self._entries(run):
                    self.filesystem.delete_dir(run)
        return deleted

    def _log(self) -> list[str]:
        return [_relative(entry.path) for entry in self._entries(_LOG, recursive=False)]

    def _entries(self, folder: str, *, recursive: bool = True) -> list[pa_fs.FileInfo]:
        selector = pa_fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        return [entry for entry in self.filesystem.get_file_info(selector) if entry.type == pa_fs.FileType.File]

    def _names_in(self, commit: str) -> list[str]:
        try:
            with self.filesystem.open_input_file(commit) as stream:
                text = bytes(stream.read()).decode()
        except FileNotFoundError:  # the log was cleaned up between the listing and this line
            return []
        return [unquote(action["path"]) for action in _file_actions(text)]


def _file_actions(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if '"add"' in line or '"remove"' in line:
            action = json.loads(line)
            yield from (action[kind] for kind in ("add", "remove") if kind in action)


def _checkpoints(names: Iterable[str]) -> list[int]:
    return [int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name))]


def _relative(path: str) -> str:
    return path.strip("/")


def _hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) for part in path.split("/"))
