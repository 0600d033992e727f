"""Which files a source has: found by the path of the spec, named by it in messages, and what is left alone."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from tallywright.data.storage.filesystem import storage_errors
from tallywright.errors import InputError

if TYPE_CHECKING:
    from tallywright.spec.sources import Source

_ENDINGS: Final = {"csv": ("*.csv", "*.csv.gz", "*.csv.zst", "*.zip"), "parquet": ("*.parquet",)}
_NO_DATA: Final = (".", "~$")
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Located:
    """The files of a source.

    Attributes:
        base: The folder of the project or of the package, below which the path of the spec is looked up.
        files: Sorted.
        left_alone: The others that lie there, or fit the glob, and are no data files.
    """

    base: Path
    files: tuple[Path, ...]
    left_alone: tuple[Path, ...] = ()

    def name_of(self, file: Path) -> str:
        """What a file is called in messages and tables: its path below the base."""
        return file.relative_to(self.base).as_posix() if file.is_relative_to(self.base) else str(file)

    def keys_of(self, file: Path) -> dict[str, str | None]:
        """What the folders named `key=value` between the base and a file say."""
        parts = self.name_of(file).split("/")[:-1]
        pairs = [part.partition("=") for part in parts if "=" in part]
        return {key: None if value == _NULL else unquote(value) for key, _, value in pairs if key}


def locate(name: str, source: Source, folder: Path) -> Located:
    """The files of a source; a package is found on the path but not imported.

    Raises:
        InputError: No such package, or no file that fits.
    """
    base = folder if source.package is None else _package_folder(name, source.package)
    with storage_errors(f"looking for the files of data.sources.{name}"):
        return _located(name, source, base)


def _located(name: str, source: Source, base: Path) -> Located:
    path = base / source.path
    if path.is_dir():
        among = [file for file in path.iterdir() if _is_file(file)]
        found = [file for file in among if _is_data(file.name, source)]
    elif path.is_file() or not any(letter in source.path for letter in "*?["):
        among = found = [path] if path.is_file() else []
    else:
        top = Path(path.anchor) if source.path.startswith("/") else base
        among = [file for file in top.glob(str(path.relative_to(top))) if _is_file(file)]
        named = source.path.rpartition("/")[2].startswith(_NO_DATA)
        found = [file for file in among if named or not file.name.startswith(_NO_DATA)]
    if not found:
        there = ", ".join(sorted(file.name for file in among)[:5])
        raise InputError(
            f"data.sources.{name}: no file {path}" + (f"; there are {there}" if there else ""),
            expected=f"a {source.format} file, a folder or a glob below {base}",
            remedy="put the raw file there, or correct data.sources: `pattern` says which files of a folder are data",
        )
    located = Located(base, tuple(sorted(found)), tuple(sorted(set(among) - set(found))))
    for file in located.files:
        _require_sound(name, file, located.name_of(file))
    return located


def _is_file(path: Path) -> bool:
    """True for a file, and for a link that leads nowhere: that is a delivery which is missing."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _require_sound(name: str, file: Path, shown: str) -> None:
    """Refuses a file that is not there, or whose name is no text."""
    if not file.is_file():
        raise InputError(
            f"data.sources.{name}: {shown} is a link to {file.readlink()}, and nothing is there",
            expected="files that can be read",
            remedy="deliver what it leads to, or remove the link",
        )
    if _NO_NAME.search(shown):
        raise InputError(
            f"data.sources.{name}: the name of a file is no text: {shown!a}",
            expected="names of plain characters, in UTF-8",
            remedy="rename it",
        )


def _is_data(file: str, source: Source) -> bool:
    """Whether a file of a folder is one of the source."""
    if file.startswith(_NO_DATA):
        return False
    if source.pattern:
        return fnmatch.fnmatchcase(file, source.pattern)
    if file.startswith("_"):
        return False
    return not source.strict or any(fnmatch.fnmatchcase(file.lower(), ending) for ending in _ENDINGS[source.format])


def _package_folder(name: str, package: str) -> Path:
    top, *rest = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except Exception:  # noqa: BLE001 - whatever an import hook raises: it is not there for us
        spec = None
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise InputError(
            f"data.sources.{name}: package {package} is not installed",
            expected="an installed package that holds the raw files",
            remedy=f"install it: pip install {package}",
        )
    return Path(places[0], *rest)
