"""What a package needs to run: whether its recorded dependencies are here, and a folder of these and nothing else.

A process whose only import path is that folder meets what a machine has on which exactly the recorded requirements were
installed, with what these require themselves. The folder holds links: nothing is installed, downloaded or copied.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tallywright
from tallywright.packaging.manifest import RUNTIME, release_of
from tallywright.records import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PYTHON: Final = "python"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def dependencies_check(requirements: Mapping[str, str]) -> Check:
    """Compares what the package records with what is installed: everything there, nothing older by major or minor."""
    problems = [*_unrecorded(requirements), *_unmet(requirements)]
    return Check.of(
        "dependencies",
        not problems,
        "; ".join(problems) or f"{len(requirements)} of {len(requirements)} as recorded or newer",
        "each recorded with its version, installed, and not older",
        ", ".join(f"{name} {version}" for name, version in sorted(requirements.items())),
    )


def link_dependencies(requirements: Iterable[str], folder: Path) -> None:
    """Fills a folder with links to the recorded distributions that are installed, and to those that they require."""
    for found in _closure({*requirements, *RUNTIME} - {_PYTHON}):
        for place in _places(found):
            source, link = Path(str(found.locate_file(place))), folder / place
            if source.exists() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source)
    # Last and always: an editable install has no files of its own.
    ours = folder / "tallywright"
    if not ours.exists():
        ours.symlink_to(Path(tallywright.__file__).parent)


def _unrecorded(requirements: Mapping[str, str]) -> Iterator[str]:
    for name in (_PYTHON, *RUNTIME):
        if name not in requirements:
            yield f"{name}: not recorded"


def _unmet(requirements: Mapping[str, str]) -> Iterator[str]:
    for name, wanted in sorted(requirements.items()):
        installed = platform.python_version() if name == _PYTHON else _version(name)
        if installed is None:
            yield f"{name} {wanted}: not installed"
        elif release_of(installed) < release_of(wanted):
            yield f"{name} {wanted}: {installed} is installed, which is older"


def _version(name: str) -> str | None:
    found = _distribution(name)
    return None if found is None else found.version


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None


def _closure(names: Iterable[str]) -> Iterator[Distribution]:
    """Yields the installed distributions among the names, and those that they require without extras."""
    seen: set[str] = set()
    waiting = sorted(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        found = _distribution(name) if name not in seen else None
        seen.add(name)
        if found is None:
            continue
        yield found
        for required in found.requires or ():
            specifier, _, marker = required.partition(";")
            match = _NAME.match(specifier)
            # Markers about Python or the system need no answer: what does not apply here is not installed.
            if match and "extra" not in marker:
                waiting.append(match[0])


def _places(found: Distribution) -> set[Path]:
    """The paths to link: a package, a module, a folder of libraries; of a namespace what the distribution has in it."""
    places = set()
    for file in found.files or ():
        parts = file.parts
        if parts[0] in {"..", "/"} or parts[0].endswith(".pth") or "__pycache__" in parts:
            continue
        top = Path(str(found.locate_file(parts[0])))
        whole = "." in parts[0] or (top / "__init__.py").is_file() or len(parts) == 1
        places.add(Path(*parts[: 1 if whole else 2]))
    return places
