"""The folder that an export becomes: complete or not there, and replaced only where it is an earlier export."""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RECORD: Final = "tally_package.json"
"""What an export is, in each of them; a folder without one is none of ours to replace."""


@contextmanager
def new_folder(target: Path, record: Mapping[str, Any], *, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well, and is gone otherwise.

    Raises:
        UsageError: Something is there already and `force` is not given, or it is no export.
    """
    require_free(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged, aside = (target.with_name(f".{target.name}.{uuid.uuid4().hex}") for _ in range(2))
    staged.mkdir()
    try:
        yield staged
        (staged / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if target.exists():
            target.rename(aside)
        staged.rename(target)
    finally:
        if aside.exists() and not target.exists():
            aside.rename(target)
        for folder in (staged, aside):
            shutil.rmtree(folder, ignore_errors=True)


def require_free(target: Path, *, force: bool) -> None:
    """Refuses a target that is taken, before anything is made.

    Raises:
        UsageError: As `new_folder`.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not force:
        raise UsageError(
            f"{target} is there already", expected="a new folder", remedy="name another one, or give --force"
        )
    if target.is_symlink() or not (target / RECORD).is_file():
        raise UsageError(
            f"{target} was not made by tally package",
            expected="a new folder, or with --force an earlier export",
            remedy="name another folder; --force replaces nothing else",
        )
