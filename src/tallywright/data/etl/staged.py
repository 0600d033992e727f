"""What staged files hold: their digests, kept apart from the files, so that a file that somebody exchanged is not read.

A staged file stands in the work folder, under the digest of the raw files that it was made of; others may be able to
write there. What it held when it was made is noted in the cache folder of this machine. A file without a note, or of
other content, is staged again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from tallywright.observability import log

_FOLDER: Final = "staged"


class StagedDigests:
    """The noted digests of staged files.

    Args:
        staged: The folder of the staged files.
        cache: The cache folder of this machine.
    """

    def __init__(self, staged: Path, cache: Path) -> None:
        self.staged = staged
        self.folder = cache / _FOLDER

    def holds(self, file: Path) -> bool:
        """True when a staged file is there, with the content that it was made with."""
        if not file.is_file():
            return False
        if self._noted(file) == content_digest(file):
            return True
        log.warning("%s is staged again: it is not what was staged", file)
        return False

    def note(self, digest: str, file: Path) -> None:
        """Notes the digest of a file that was just made, before it gets its name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=self.folder, prefix=".")
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(digest)
        Path(draft).replace(self.folder / file.name)

    def unneeded(self) -> list[Path]:
        """The notes about files that are gone."""
        with suppress(FileNotFoundError):
            return [note for note in self.folder.iterdir() if not (self.staged / note.name).is_file()]
        return []

    def _noted(self, file: Path) -> str:
        try:
            return (self.folder / file.name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""


def content_digest(file: Path) -> str:
    """The sha256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
