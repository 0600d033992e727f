"""The commits of a table up to the version of a handle, by their numbers.

`DeltaTable.history` is of no use beside other writers: it returns commits that are newer than the handle too, and
numbers them from the handle's version, so that every number is wrong (`tests/data/delta/test_history.py` shows it).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from pyarrow import fs

from tallywright.data.delta.log_damage import COMMIT, damaged_log
from tallywright.data.storage.filesystem import filesystem_of, storage_errors
from tallywright.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake

_MOST: Final = 64
"""Commits that one look reads at most: the first reads one, each further one twice as many as the one before."""
_READERS: Final = 8


def commits(lake: Lake, handle: DeltaTable) -> Iterator[dict[str, Any]]:
    """Yields what the commits say of themselves, with their `version`, from the handle's backwards.

    It ends at the first version, or where the log was cleaned up, which leaves nothing below.

    Args:
        lake: Where the table is.
        handle: On the newest version that is wanted.

    Raises:
        IntegrityError: A commit is no commit, or is gone while older ones are there.
        StorageError: Storage that cannot be read.
    """
    table = unquote(handle.table_uri.rstrip("/").rpartition("/")[2])
    filesystem, inner = filesystem_of(lake.uri(table), lake.options)

    def read(version: int) -> bytes | None:
        try:
            with filesystem.open_input_file(f"{inner}/_delta_log/{version:020d}.json") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    newest, width = handle.version(), 1
    while newest >= 0:
        versions = range(newest, max(-1, newest - width), -1)
        with storage_errors(f"reading the log of {lake.uri(table)}"):
            texts = _all_read(read, versions)
        for version, text in zip(versions, texts, strict=True):
            if text is None:
                _require_nothing_below(filesystem, f"{inner}/_delta_log", table, version)
                return
            yield {**_info(text, table, version), "version": version}
        newest, width = newest - width, min(2 * width, _MOST)


def _all_read(read: Callable[[int], bytes | None], versions: range) -> list[bytes | None]:
    if len(versions) == 1:
        return [read(versions[0])]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, versions))


def _require_nothing_below(filesystem: fs.FileSystem, log: str, table: str, version: int) -> None:
    with storage_errors(f"reading the log of {table}"):
        entries = filesystem.get_file_info(fs.FileSelector(log, allow_not_found=True))
    if any(COMMIT.fullmatch(entry.base_name) and int(entry.base_name[:20]) < version for entry in entries):
        raise IntegrityError(
            f"{table}: the file {version:020d}.json of its log is gone, and older ones are there",
            expected="commits as they were written",
            remedy="restore the table's folder from a backup",
        )


def _info(text: bytes, table: str, version: int) -> dict[str, Any]:
    """The commit's `commitInfo`; empty for a commit that has none."""
    try:
        for line in text.split(b"\n"):
            if b'"commitInfo"' in line:
                info = json.loads(line).get("commitInfo")
                if isinstance(info, dict):
                    return info
    except ValueError as error:
        raise damaged_log(table, f"{version:020d}.json") from error
    return {}
