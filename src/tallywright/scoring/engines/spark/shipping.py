"""Ships model packages to executors that do not share the driver's disk: once each, verified on arrival."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from tallywright.packaging.package import PackageCache

if TYPE_CHECKING:
    from tallywright.scoring.job import ScoreJob


class Shipper:
    """The driver's side: offers each package to the executors of a session once, for all engines.

    Spark knows a file by its name alone, and hands it to executors that start later: so a session has one shipper,
    whose archives stay until the session or the process ends.

    Args:
        context: The SparkContext.
        shared: Executors run on the driver's machine and read its disk: nothing is shipped.
    """

    _of_sessions: ClassVar[dict[str, Shipper]] = {}

    def __init__(self, context: Any, *, shared: bool) -> None:
        self._context = context
        self._session = str(context.applicationId)
        self._shared = shared
        self._folder = tempfile.mkdtemp(prefix="tallywright-packages-")
        self._removed = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._shipped: set[str] = set()
        self._lock = Lock()

    @classmethod
    def of(cls, context: Any) -> Shipper:
        """The shipper of this session."""
        name = str(context.applicationId)
        if name not in cls._of_sessions:
            cls._of_sessions[name] = cls(context, shared=context.master.startswith("local"))
        return cls._of_sessions[name]

    def ship(self, job: ScoreJob) -> None:
        """Makes sure that tasks which start from now on can take the job's packages."""
        if self._shared:
            return
        with self._lock:
            for model in job.models:
                if model.package_digest not in self._shipped:
                    archive = shutil.make_archive(str(Path(self._folder, model.package_digest)), "zip", model.package)
                    self._context.addFile(archive)
                    self._shipped.add(model.package_digest)

    def close(self) -> None:
        """Removes the archives; the session is over."""
        self._of_sessions.pop(self._session, None)
        self._removed()


def with_local_packages(job: ScoreJob) -> ScoreJob:
    """The executor's side: the same job, with the packages on this machine.

    Raises:
        PackageError: What arrived is not the package.
    """
    return replace(job, models=tuple(replace(model, package=_folder_of(model.package_digest, model.package))
                                     for model in job.models))  # fmt: skip


def _folder_of(digest: str, folder: str) -> str:
    from pyspark import SparkFiles

    archive = Path(SparkFiles.get(f"{digest}.zip"))
    if not archive.is_file():
        return folder
    cache = PackageCache(Path(SparkFiles.getRootDirectory(), "tallywright-packages"))
    package = cache.get(digest)
    if package is None:
        with tempfile.TemporaryDirectory(prefix="tallywright-") as scratch:
            with zipfile.ZipFile(archive) as file:
                file.extractall(scratch)
            package = cache.put(Path(scratch))
    return str(package.folder)
