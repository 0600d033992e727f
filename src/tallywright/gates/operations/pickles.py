"""Finds pickles among the files of a package by reading their opcodes, without running one."""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import TYPE_CHECKING, Final

from tallywright.records import Check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ENDINGS: Final = (".pkl", ".pickle", ".joblib", ".dill")
_ZIP: Final = b"PK\x03\x04"
_LEAST_BYTES: Final = 4
"""Less can hold no name of a class or function; two letters of text would read as a pickle."""


def no_pickle_check(folder: Path) -> Check:
    """Looks at every file in the folder, whatever its name."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = [name for name, path in files.items() if name.endswith(_ENDINGS) or holds_pickle(path.read_bytes())]
    return Check.of(
        "no_pickle_inside", not found, ", ".join(found) or "none", "no file that is a pickle or holds one",
        f"{len(files)} files by their content",
    )  # fmt: skip


def holds_pickle(content: bytes) -> bool:
    """True for a pickle, of any protocol, and for an archive with one in it, as torch and joblib write them."""
    if content.startswith(_ZIP):
        return any(name.endswith(_ENDINGS) or is_pickle(text) for name, text in _members(content).items())
    return is_pickle(content)


def is_pickle(content: bytes) -> bool:
    """True when the opcodes of a pickle fill the content to its last byte."""
    if len(content) < _LEAST_BYTES or not content.endswith(b"."):
        return False
    try:
        *_, (_, _, last) = pickletools.genops(content)
    except Exception:  # noqa: BLE001 - whatever it stumbles over, these are no opcodes
        return False
    return last == len(content) - 1


def _members(content: bytes) -> Mapping[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return {}
