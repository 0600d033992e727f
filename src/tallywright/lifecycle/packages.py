"""The package of a model version: from this machine's cache, else from the registry, never unverified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.observability import log
from tallywright.packaging.cache import PackageCache
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.spec import Project


def package_of(project: Project, ref: ModelRef) -> Package:
    """The verified package of a version; MLflow is asked only when the cache does not hold it.

    Raises:
        PackageError: What the registry holds is not the version with this digest.
        TrackingError: Not in the cache, and MLflow cannot be reached.
    """
    cached = PackageCache(Path(project.environment.storage.cache)).get(ref.digest)
    if cached is not None:
        return cached
    from tallywright.registry.versions import fetch

    log.info("fetching %s version %d from the registry", ref.name, ref.version)
    return load_package(fetch(project, ref.version, ref.digest), digest=ref.digest)
