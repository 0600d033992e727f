"""What tests share they only read: a test that writes into it is named, not the neighbour that stumbles over it."""

from __future__ import annotations

from pathlib import Path

_Files = dict[str, tuple[int, int]]
_KEPT: dict[Path, _Files] = {}


def shared(folder: Path) -> Path:
    """From now on every test of this process leaves this folder (or file) as it is."""
    _KEPT[folder] = files_of(folder)
    return folder


def written() -> list[str]:
    """The shared files that were made, changed or removed since this was last asked."""
    found = []
    for folder, before in _KEPT.items():
        after = files_of(folder)
        found += [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        _KEPT[folder] = after
    return sorted(found)


def files_of(*folders: Path) -> _Files:
    """Size and time of each file."""
    files = [file for folder in folders for file in (folder, *folder.rglob("*")) if file.is_file()]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
