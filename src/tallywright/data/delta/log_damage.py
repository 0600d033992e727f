"""Finds out why a table's log cannot be opened: a file of it that is damaged or gone, by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow import fs

from tallywright.data.delta.damage import made_again
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LAST_CHECKPOINT: Final = "_last_checkpoint"
"""The file of a log that names its newest checkpoint."""
COMMIT: Final = re.compile(r"\d{20}\.json")
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
_COLUMN: Final = {"name": "-", "type": "string", "nullable": True, "metadata": {}}
_SOUND: Final = {
    "protocol": json.dumps({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
    "metaData": json.dumps(
        {
            "metaData": {
                "id": "-",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": [_COLUMN]}),
                "partitionColumns": [],
                "configuration": {},
            }
        }
    ),
}
"""The lines of a first commit, where the log no longer has its own."""
_CHECKPOINT: Final = re.compile(r"\d{20}\.checkpoint\.[\w.-]*parquet")


def log_damage(uri: str, options: Mapping[str, str], *, whole: bool = True) -> IntegrityError | None:
    """The error that names the newest damaged file of a table's log; None where every file can be read.

    Args:
        uri: The address of the table.
        options: Storage options of the lake.
        whole: Ask delta-rs too, which also refuses sound tables of features that it does not know.
    """
    filesystem, inner = filesystem_of(uri, options)
    try:
        entries = filesystem.get_file_info(fs.FileSelector(f"{inner}/_delta_log", allow_not_found=True))
        paths = [entry.path for entry in entries if entry.type == fs.FileType.File and _is_of_log(entry.base_name)]
        contents = {path.rpartition("/")[2]: _content(filesystem, path) for path in paths}
    except (OSError, pa.ArrowException):
        return None
    table = uri.rstrip("/").rpartition("/")[2]
    hint = contents.pop(LAST_CHECKPOINT, None)
    if hint is not None and names_nothing(hint, contents):
        return damaged_log(table, LAST_CHECKPOINT)
    missing = missing_commit(contents)
    if missing is not None:
        return gone_from_log(table, missing)
    problem = max(damaged_files(contents) if whole else _unreadable(contents), default=None)
    return None if problem is None else damaged_log(table, problem)


def missing_commit(names: Iterable[str]) -> str | None:
    """The name of the newest commit that is gone from a log although reading the table needs it; None where none is.

    A reader needs every commit after the newest checkpoint, and all of them where there is none.
    """
    names = list(names)
    versions = {int(name[:20]) for name in names if COMMIT.fullmatch(name)}
    first = max((int(name[:20]) for name in names if _CHECKPOINT.fullmatch(name)), default=-1) + 1
    gone = set(range(first, max(versions, default=first))) - versions
    return f"{max(gone):020d}.json" if gone else None


def names_nothing(hint: bytes, names: Iterable[str]) -> bool:
    """True for the content of a `_last_checkpoint` that names a checkpoint which is not there: it is redundant."""
    try:
        version = int(json.loads(hint)["version"])
    except (ValueError, KeyError, TypeError):
        return True
    return not any(_CHECKPOINT.fullmatch(name) and int(name[:20]) == version for name in names)


def gone_from_log(table: str, name: str) -> IntegrityError:
    """The error about a commit that is gone, which nothing else has."""
    return IntegrityError(
        f"{table}: the file {name} of its log is gone, and the table cannot be read without it",
        expected="commits as they were written",
        remedy=f"restore the file from a backup{made_again(table, 'or move the folder of the table away, then ')}",
    )


def damaged_log(table: str, name: str) -> IntegrityError:
    """The error about a file of a table's log that cannot be read."""
    model = table.rpartition("__")[0]
    return IntegrityError(
        f"{table}: the file {name} of its log cannot be read",
        expected="commits and checkpoints as they were written",
        remedy=f"tally verify {model} --repair" if model else "restore it from a backup",
    )


def _is_of_log(name: str) -> bool:
    return bool(COMMIT.fullmatch(name) or _CHECKPOINT.fullmatch(name)) or name == LAST_CHECKPOINT


def _content(filesystem: fs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_file(path) as stream:
        return bytes(stream.read())


def damaged_files(contents: Mapping[str, bytes]) -> list[str]:
    """The names of the damaged files of a log that cannot be opened: those that are no whole commit or checkpoint.

    Where all are, the commits that delta-rs refuses: JSON inside a text, such as the schema, may be damaged as well.
    """
    commits = {name: contents[name] for name in sorted(contents) if COMMIT.fullmatch(name)}
    return _unreadable(contents) or _refused(commits)


def _unreadable(contents: Mapping[str, bytes]) -> list[str]:
    return [name for name, content in contents.items() if not is_readable(name, content)]


def _refused(commits: Mapping[str, bytes]) -> list[str]:
    """The commits that delta-rs cannot open on top of a sound one, which has the schema that holds before them."""
    refused, before = [], dict(_SOUND)
    with TemporaryDirectory(prefix="tallywright-log-") as folder:
        log = Path(folder, "_delta_log")
        log.mkdir()
        first, second = log / f"{0:020d}.json", log / f"{1:020d}.json"
        for name, content in commits.items():
            own = {kind: line for line in content.decode().split("\n") if (kind := _kind(line)) in before}
            alone = name == first.name
            first.write_bytes(content if alone else "\n".join(before.values()).encode())
            second.unlink(missing_ok=True)
            if not alone:
                second.write_bytes(content)
            try:
                DeltaTable(folder)
            except Exception:  # noqa: BLE001 - whatever delta-rs raises: it does not open
                refused.append(name)
            else:
                before |= own
    return refused


def _kind(line: str) -> str:
    """The name of a line's first action; empty for a line without one."""
    return next(iter(json.loads(line)), "") if line.strip() else ""


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
