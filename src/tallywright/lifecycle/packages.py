"""The package of a model version: from this machine's cache, else from the registry, never unverified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.errors import PackageError, TrackingError
from tallywright.observability import log
from tallywright.packaging.cache import PackageCache
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.spec import Project


class VerifiedPackages:
    """The packages that a run (or a range of days) has verified already, by digest."""

    def __init__(self) -> None:
        self._packages: dict[str, Package] = {}

    def of(self, project: Project, ref: ModelRef) -> Package:
        """As `package_of`, hashed once unless its files were touched; its graph is verified again whenever it is read.

        Raises:
            TallyError: As `package_of`.
        """
        found = self._packages.get(ref.digest)
        if found is None or not found.untouched:
            found = self._packages[ref.digest] = package_of(project, ref)
        return found


def packages_of(
    project: Project, models: Sequence[ModelRef], verified: VerifiedPackages | None = None
) -> tuple[dict[str, Package], dict[str, str]]:
    """The packages by digest, and why others are not at hand; the champion's must be, unless the fallback covers that.

    Args:
        project: Whose models.
        models: The champion first.
        verified: Those that this run has loaded before.

    Raises:
        PackageError: The champion's package is not the version with its digest.
        TrackingError: The champion's is not in the cache, and MLflow cannot be reached.
    """
    fallback = project.spec.scoring.fallback
    covered = fallback is not None and "package" in fallback.covers
    verified = verified or VerifiedPackages()
    found: dict[str, Package] = {}
    missing: dict[str, str] = {}
    for ref in models:
        if ref.is_constant:
            continue
        try:
            found[ref.digest] = verified.of(project, ref)
        except (PackageError, TrackingError) as error:
            if ref is models[0] and not covered:
                raise
            missing[ref.digest] = error.found
    return found, missing


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
