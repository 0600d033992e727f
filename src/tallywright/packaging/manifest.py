"""The list of a package's files and their sha256: what makes a package one immutable thing with one digest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from tallywright.errors import PackageError
from tallywright.records import Record, digest_of

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_FOREIGN: Final = frozenset({MANIFEST, "registered_model_meta"})
"""Beside the manifest itself only the note that MLflow leaves in a folder it downloads."""
_REMEDY: Final = "take the package from the registry again; if it is altered there too, retrain or roll back"


class FileEntry(Record):
    """One file of a package."""

    sha256: str
    size: int


class PackageManifest(Record):
    """All files of a package by their path, which is relative and has forward slashes."""

    format: int = FORMAT
    files: dict[str, FileEntry]

    @property
    def digest(self) -> str:
        """The digest of the package: that of its canonical file list."""
        return digest_of(self.model_dump(mode="json"))

    def write(self, folder: Path) -> None:
        """Writes the manifest into the folder, readable."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def entry_of(content: bytes) -> FileEntry:
    """The manifest's entry for a file of this content."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def verified_files(folder: Path) -> tuple[PackageManifest, dict[str, bytes]]:
    """The manifest and the content of all files, each equal to its entry.

    Raises:
        PackageError: No readable manifest, a file too many or too few, or one that was altered.
    """
    manifest = _read_manifest(folder)
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()
    } - _FOREIGN
    missing, extra = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    if missing or extra:
        found = [f"missing {', '.join(missing)}"] * bool(missing) + [f"not its own {', '.join(extra)}"] * bool(extra)
        raise PackageError(
            f"package {folder}: {'; '.join(found)}", expected="exactly the files of its manifest", remedy=_REMEDY
        )
    return manifest, {name: verified_file(folder, name, entry) for name, entry in manifest.files.items()}


def verified_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    """The content of one file, checked against its entry."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise PackageError(f"package {folder}: {name} cannot be read: {error}", remedy=_REMEDY) from error
    found = entry_of(content)
    if found != entry:
        raise PackageError(
            f"package {folder}: {name} was altered: sha256 {found.sha256[:16]}…, {found.size} bytes",
            expected=f"sha256 {entry.sha256[:16]}…, {entry.size} bytes, as its manifest says",
            remedy=_REMEDY,
        )
    return content


def _read_manifest(folder: Path) -> PackageManifest:
    try:
        manifest = PackageManifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"no package in {folder}: {error}", expected=f"a {MANIFEST}", remedy=_REMEDY) from error
    except ValidationError as error:
        raise PackageError(
            f"package {folder}: {MANIFEST} is not valid ({error.error_count()} problems)", remedy=_REMEDY
        ) from error
    if manifest.format != FORMAT:
        raise PackageError(
            f"package {folder} has the format {manifest.format}",
            expected=f"format {FORMAT}",
            remedy="use the Tallywright that wrote it, or retrain the model with this one",
        )
    return manifest
