"""Folders of a project: their names, whether a path stays within them, and that a home is private."""

from __future__ import annotations

import re
from contextlib import suppress
from os.path import normpath, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

HOME: Final = ".tally"
"""How the name of the folder begins in which a project keeps all that it makes, unless conf/ names other places."""
_OTHERS: Final = 0o007
_READ_OTHERWISE: Final = {
    r"\?": "`?`, behind which SQLite's addresses have options",
    r"\*": "`*`, which is a pattern of files",
    r"\[[^]/]*\]": "`[…]`, which is a pattern of files",
    r"%[0-9A-Fa-f]{2}": "`%` and two digits, which stand for another character in addresses",
    r"\\": "`\\`, which is no separator here",
    r"[\x00-\x1f\x7f]": "a control character, such as a line break",
}


_SAME_SCHEME: Final = {"s3a": "s3", "s3n": "s3", "postgres": "postgresql", "mariadb": "mysql"}
_PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def require_plain(path: str | Path) -> None:
    """Refuses a local path that DuckDB, delta-rs, MLflow or SQLite would take for another one.

    Raises:
        UsageError: Names the character.
    """
    text = str(path)
    found = next((why for pattern, why in _READ_OTHERWISE.items() if re.search(pattern, text)), "")
    if found:
        raise UsageError(
            f"the path {text!r} has {found}",
            expected="folders whose names every storage library reads alike",
            remedy="rename the folder, or put the project (or the place named in conf/) elsewhere",
        )


def plain_address(address: str) -> str:
    """A path or an address in the one form that all its spellings share, without its user and its options.

    Host names have no case, `s3a` is `s3`, a port that goes without saying is left out, and `.`, `..` and doubled
    slashes are taken out of paths.
    """
    scheme, found, rest = address.partition("://")
    scheme = scheme.lower().partition("+")[0]
    scheme = _SAME_SCHEME.get(scheme, scheme)
    if not found:
        return _plain_path(address)
    if scheme != "s3":
        rest = rest.partition("?")[0]
    if scheme == "sqlite":
        return f"sqlite:{_plain_path(rest.removeprefix('/'))}"
    if scheme == "file":
        return _plain_path(rest.removeprefix("localhost"))
    host, _, path = rest.partition("/")
    host = host.rpartition("@")[2].lower().removesuffix(f":{_PORTS.get(scheme, '')}").removesuffix(".")
    return f"{scheme}://{host}{_plain_path(f'/{path}').rstrip('/')}"


def _plain_path(path: str) -> str:
    """A path without `.`, `..` and doubled slashes, which a standard lets stand at its beginning."""
    return re.sub(r"^//+", "/", normpath(path))


def leads_outside(base: Path, path: str, folders: Iterable[str]) -> bool:
    """True when a path, links followed, lies in none of the `real` folders; of a pattern what stands before its `*`."""
    parts = Path(path).parts
    fixed = next((place for place, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    found = realpath(base.joinpath(*parts[:fixed]))
    return ".." in parts[fixed:] or not any(found == folder or found.startswith(f"{folder}/") for folder in folders)


def real(folders: Iterable[Path | str]) -> tuple[str, ...]:
    """The folders with links followed, as `leads_outside` compares them."""
    return tuple(realpath(folder).rstrip("/") for folder in folders)


def keep_private(root: Path, *places: str) -> None:
    """Makes the project's own home, `.tally…`, a folder that its user alone may enter, whatever the umask.

    A home that every user can enter is closed; one that was opened to a group stays so. Places elsewhere are a matter
    of whoever named them in conf/.

    Args:
        root: The project's.
        places: Where it keeps what it makes.
    """
    for place in places:
        with suppress(ValueError, OSError):
            below = Path(place).relative_to(root).parts
            if not below or not below[0].startswith(HOME):
                continue
            top = root / below[0]
            top.mkdir(mode=0o700, exist_ok=True)
            if top.stat().st_mode & _OTHERS:
                top.chmod(0o700)
