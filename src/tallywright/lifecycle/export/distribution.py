"""A version as a Python distribution, and as the build context of an image: with the package inside."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from typing import TYPE_CHECKING, Any, Final

from tallywright import __version__
from tallywright.packaging.embedded import ARCHIVE
from tallywright.packaging.manifest import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tallywright.lifecycle.export.exported import Exported
    from tallywright.packaging.package import Package

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The first moment that an archive can hold: equal versions make equal bytes."""
_MODE: Final = 0o644 << 16


def write_wheel(exported: Exported, folder: Path) -> dict[str, Any]:
    """A wheel with one module: `predict`, and the package as data (PEP 427)."""
    name = f"{exported.distribution}-{exported.distribution_version}"
    info = f"{name}.dist-info"
    files = {f"{exported.module}/{path}": content for path, content in _module(exported).items()} | {
        f"{info}/METADATA": exported.rendered("METADATA.j2", core=__version__).encode(),
        f"{info}/WHEEL": exported.rendered("WHEEL.j2", core=__version__).encode(),
    }
    record = f"{info}/RECORD"
    lines = [*(_recorded(path, content) for path, content in files.items()), f"{record},,"]
    wheel = f"{name}-py3-none-any.whl"
    (folder / wheel).write_bytes(_archive(files | {record: ("\n".join(lines) + "\n").encode()}, deflated=True))
    return {"import": exported.module}


def write_docker_context(exported: Exported, folder: Path) -> dict[str, Any]:
    """A Dockerfile on the slim worker, and the module with the model beside it."""
    module = folder / "model" / exported.module
    module.mkdir(parents=True)
    for path, content in _module(exported).items():
        (module / path).write_bytes(content)
    for path in ("Dockerfile", ".dockerignore", "README.md"):
        text = exported.rendered(f"{path.removeprefix('.')}.j2", core=__version__)
        (folder / path).write_text(text, encoding="utf-8")
    return {"import": exported.module}


def _module(exported: Exported) -> dict[str, bytes]:
    """The files of the Python module with the model in it."""
    return {
        "__init__.py": exported.rendered("__init__.py.j2").encode(),
        "__main__.py": exported.rendered("__main__.py.j2").encode(),
        "py.typed": b"",
        ARCHIVE: _archive(_files(exported.package), deflated=False),
    }


def _files(package: Package) -> Mapping[str, bytes]:
    """The files of the package, each verified once more, with its manifest."""
    files = {name: package.read(name) for name in sorted(package.manifest.files)}
    return files | {MANIFEST: (package.folder / MANIFEST).read_bytes()}


def _archive(files: Mapping[str, bytes], *, deflated: bool) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _MODE
            entry.compress_type = made.compression
            made.writestr(entry, content)
    return archive.getvalue()


def _recorded(path: str, content: bytes) -> str:
    """A line of RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"
