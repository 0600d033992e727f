"""A cache of parsed specs by the digest of their files' content, in this process and in a file.

Airflow's DAG processor forks a process to parse a DAG file, so what is only in memory is lost between two parses. The
file only saves time: one that is missing, unreadable or not exactly what was written is ignored. It holds the values as
they are in the YAML files; whoever reads them validates them again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from tallywright import __version__
from tallywright.errors import SpecError
from tallywright.spec.yaml_files import parse_mapping, read_text

_FORMAT: Final = 2
_VALUES: Final = "values"
_REFUSED: Final = "refused"
_DONE: Final = "done"

_Entry = dict[str, Any]
_in_memory: dict[Path, dict[str, _Entry]] = {}
"""The entries of each cache file at the last parse."""


def cache_file(folder: str, overlay: Path) -> Path | None:
    """The path of the cache file, in a folder that projects and environments may share; one a Tallywright version.

    Args:
        folder: `storage.cache`; what is no local folder keeps nothing.
        overlay: The environment's file.
    """
    if not folder or "://" in folder:
        return None
    return Path(folder) / "specs" / f"{_sha256(str(overlay))[:16]}-{__version__}-{_FORMAT}.json"


class SpecCache:
    """The parsed specs of a project; only those that are asked for are kept by `save`.

    Args:
        file: Where they are kept; None for this object's lifetime only.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stored = _stored(file) if file else {}
        self._known = (_in_memory.get(file, {}) if file else {}) | self._stored
        self._asked: dict[str, _Entry] = {}

    def values(self, file: Path, layer: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The values of a `model.yaml`, parsed unless this content was parsed before.

        Args:
            file: The `model.yaml`.
            layer: What an overlay lays over it; it may hold what comes from the environment, and is not kept.

        Returns:
            The values, and the digest of content and layer; it is empty where the values cannot be kept.

        Raises:
            SpecError: The file cannot be read or is no YAML mapping.
        """
        content = read_text(file)
        digest = _digest(file, layer, content)
        entry = self._known.get(digest)
        if entry is None:
            entry = _parsed(file, content)
            if not _keeps(entry):
                digest = ""
        if digest:
            self._asked[digest] = entry
        if _REFUSED in entry:
            found, expected, remedy = entry[_REFUSED]
            raise SpecError(found, expected=expected, remedy=remedy)
        return entry[_VALUES], digest

    def is_done(self, digest: str, mark: str) -> bool:
        """True when `mark` was set for this content."""
        return bool(digest) and self._asked[digest].get(_DONE) == mark

    def set_done(self, digest: str, mark: str) -> None:
        """Sets the mark of this content, such as DAGs made from it; an empty mark removes it."""
        if digest:
            self._asked[digest] = {key: value for key, value in self._asked[digest].items() if key != _DONE}
            self._asked[digest] |= {_DONE: mark} if mark else {}

    def save(self) -> None:
        """Writes the entries that were asked for, atomically, and drops others; an unwritable folder is ignored."""
        if self._file is None:
            return
        _in_memory[self._file] = self._asked
        if self._asked == self._stored:
            return
        text = json.dumps(self._asked)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._file, f"{_sha256(text)}\n{text}")


def _digest(file: Path, layer: dict[str, Any], content: str) -> str:
    return _sha256(json.dumps([str(file), layer, content], sort_keys=True, default=repr))


def _parsed(file: Path, content: str) -> _Entry:
    try:
        return {_VALUES: parse_mapping(file, content, conf=False)}
    except SpecError as error:
        return {_REFUSED: [error.found, error.expected, error.remedy]}


def _keeps(entry: _Entry) -> bool:
    """True when the values survive a round trip through JSON."""
    try:
        return bool(json.loads(json.dumps(entry)) == entry)
    except (TypeError, ValueError):
        return False


def _stored(file: Path) -> dict[str, _Entry]:
    """The entries of the file; none when its content is not exactly what was written."""
    try:
        digest, text = file.read_bytes().decode().split("\n", 1)
        entries = json.loads(text) if _sha256(text) == digest else {}
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _replace(file: Path, text: str) -> None:
    handle, staged = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(staged, file)  # noqa: PTH105 - the atomic one, said by name
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(staged)  # noqa: PTH108 - beside os.replace
        raise


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
