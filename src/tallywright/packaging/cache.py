"""The packages of this machine by digest, so that scoring a day asks the registry only for what is not here yet."""

from __future__ import annotations

import re
import shutil
import uuid
from typing import TYPE_CHECKING

from tallywright.errors import PackageError, StorageError
from tallywright.observability import log
from tallywright.packaging.package import Package, load_package

if TYPE_CHECKING:
    from pathlib import Path


class PackageCache:
    """A folder of packages, each under its digest; processes may share it without a lock.

    An entry comes into being by one rename of a complete folder and never changes. Whoever comes second finds it there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, digest: str) -> Package | None:
        """The package of that digest, verified; None when it is not here, or no longer whole (it is then set aside)."""
        folder = self._folder(digest)
        if not folder.is_dir():
            return None
        try:
            return load_package(folder, digest=digest)
        except PackageError as error:
            log.warning("the cached package %s is set aside: %s", digest[:12], error.found)
            self._discard_altered(folder)
            return None

    def put(self, folder: Path) -> Package:
        """Copies the package in `folder` into the cache, unless it is there, and gives the cached one.

        Raises:
            PackageError: The folder is no valid package.
            StorageError: The cache cannot be written.
        """
        digest = load_package(folder).digest
        cached = self.get(digest)
        if cached is not None:
            return cached
        staged = self.root / f".{digest}.{uuid.uuid4().hex}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, staged)
            self._enter(staged, digest)
        except (OSError, shutil.Error) as error:
            raise StorageError(
                f"the package cache {self.root} cannot be written: {error}",
                remedy="free some space, or point storage.cache to a folder that can be written",
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return load_package(self._folder(digest), digest=digest)

    def _enter(self, staged: Path, digest: str) -> None:
        try:
            staged.rename(self._folder(digest))
        except OSError:
            # A folder that is not empty cannot be renamed over: another process entered the same package first.
            if not self._folder(digest).is_dir():
                raise

    def _discard_altered(self, folder: Path) -> None:
        """Removes an entry that is no longer what its name says; by a rename first, so that nobody sees half of one."""
        aside = self.root / f".altered.{uuid.uuid4().hex}"
        try:
            folder.rename(aside)
        except OSError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    def _folder(self, digest: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise PackageError(f"not a package digest: {digest!r}", expected="64 hexadecimal digits")
        return self.root / digest
