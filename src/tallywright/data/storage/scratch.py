"""Scratch folders for intermediate files: removed by their process, or by the next one if it was killed."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from tallywright.data.storage.filesystem import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder below `parent` that is removed at the end; first removes those of processes that were killed.

    A lock file beside each folder tells whether its process lives: the lock goes with the process, whatever ends it.

    Raises:
        StorageError: `parent` cannot be written.
    """
    with storage_errors(f"making a scratch folder in {parent}"):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = parent / uuid4().hex
        held = folder.with_suffix(".lock").open("w")
    try:
        with storage_errors(f"making a scratch folder in {parent}"):
            fcntl.flock(held, fcntl.LOCK_EX)
            folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        held.close()


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob("*.lock"):
        try:
            with lock.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue  # in use by a process, or just removed by one
