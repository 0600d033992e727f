"""Finds out why a table's log cannot be opened: a checkpoint or a commit that is damaged, by name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMIT: Final = re.compile(r"\d{20}\.json")
_NUMBER, _TEXTS = (int,), (dict,)
_ACTIONS: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    "add": {
        "path": (str,),
        "partitionValues": _TEXTS,
        "size": _NUMBER,
        "modificationTime": _NUMBER,
        "dataChange": (bool,),
    },
    "remove": {"path": (str,), "dataChange": (bool,)},
    "txn": {"appId": (str,), "version": _NUMBER},
    "metaData": {"id": (str,), "format": (dict,), "schemaString": (str,), "partitionColumns": (list,)},
    "protocol": {"minReaderVersion": _NUMBER, "minWriterVersion": _NUMBER},
    "commitInfo": {},
}
"""What an action must have, by the Delta protocol (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions)."""
_CHECKPOINT: Final = re.compile(r"\d{20}\.checkpoint\.[\w.-]*parquet")


def log_damage(uri: str, options: Mapping[str, str]) -> IntegrityError | None:
    """The error that names the newest damaged file of a table's log; None where every file can be read.

    Args:
        uri: The address of the table.
        options: Storage options of the lake.
    """
    filesystem, inner = filesystem_of(uri, options)
    try:
        entries = filesystem.get_file_info(fs.FileSelector(f"{inner}/_delta_log", allow_not_found=True))
        paths = sorted((entry.path for entry in entries if entry.type == fs.FileType.File), reverse=True)
        problem = next((found for path in paths if (found := _problem(filesystem, path))), None)
    except (OSError, pa.ArrowException):
        return None
    if problem is None:
        return None
    table = uri.rstrip("/").rpartition("/")[2]
    model = table.rpartition("__")[0]
    return IntegrityError(
        f"{table}: the file {problem} of its log cannot be read",
        expected="commits and checkpoints as they were written",
        remedy=f"tally verify {model} --repair" if model else "restore it from a backup",
    )


def _problem(filesystem: fs.FileSystem, path: str) -> str:
    """The name of a file of the log that is damaged; empty for one that is not, or is of another kind."""
    name = path.rpartition("/")[2]
    if not _COMMIT.fullmatch(name) and not _CHECKPOINT.fullmatch(name):
        return ""
    with filesystem.open_input_file(path) as stream:
        content = bytes(stream.read())
    return "" if is_readable(name, content) else name


def is_readable(name: str, content: bytes) -> bool:
    """True when a file of a log is a whole checkpoint or a whole commit, by its name."""
    try:
        if name.endswith(".json"):
            lines = [
                json.loads(line, parse_constant=_no_number) for line in content.decode().split("\n") if line.strip()
            ]
            return bool(lines) and all(isinstance(line, dict) and _is_action(line) for line in lines)
        pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (ValueError, OSError, pa.ArrowException):
        return False
    return True


def _is_action(line: Mapping[str, object]) -> bool:
    """True when each action of a line that we know has what it must have."""
    for name, required in _ACTIONS.items():
        if name not in line:
            continue
        action = line[name]
        if not isinstance(action, dict) or any(type(action.get(key)) not in kinds for key, kinds in required.items()):
            return False
    return True


def _no_number(text: str) -> float:
    """NaN and infinities, which Python reads, are no JSON."""
    raise ValueError(text)
