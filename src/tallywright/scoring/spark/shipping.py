"""How a model package reaches executors that do not share the driver's disk: once each, verified on arrival."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.packaging.cache import PackageCache

if TYPE_CHECKING:
    from tallywright.scoring.score_job import ScoreJob


class Shipper:
    """The driver's side: each package is offered to the executors of a session once.

    Args:
        context: The SparkContext.
        shared: Executors run on the driver's machine and read its disk: nothing is shipped.
    """

    def __init__(self, context: Any, *, shared: bool) -> None:
        self._context = context
        self._shared = shared
        self._folder = Path(tempfile.mkdtemp(prefix="tallywright-packages-"))
        self._shipped: set[str] = set()

    def ship(self, job: ScoreJob) -> None:
        """Makes sure that tasks which start from now on can take the job's packages."""
        if self._shared:
            return
        for model in job.models:
            if model.package_digest not in self._shipped:
                archive = shutil.make_archive(str(self._folder / model.package_digest), "zip", model.package)
                self._context.addFile(archive)
                self._shipped.add(model.package_digest)

    def close(self) -> None:
        """Removes the archives; executors that start later would miss them."""
        shutil.rmtree(self._folder, ignore_errors=True)


def arrived(job: ScoreJob) -> ScoreJob:
    """The executor's side: the same job with packages that lie on this machine.

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
