"""The numbers of one version in two registries: each counts for itself, and the same is the package's digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import IntegrityError, StorageError, UsageError
from tallywright.observability import log
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import recorded_versions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallywright.data.delta.lake import Lake
    from tallywright.records import ModelRef, Promotion, VersionOrigin
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import ModelSpec, Project


class ForeignLog(PromotionLog):
    """Production's promotion log in the numbers of the registry of training; only read.

    Entries about versions that were not trained here are left out.
    """

    def __init__(self, production: Lake, lake: Lake, spec: ModelSpec) -> None:
        super().__init__(production, spec)
        self.lake = lake

    def entries(self) -> list[Promotion]:
        """The entries about versions of this registry, each with the number that it has here.

        Raises:
            IntegrityError: As of every log.
        """
        known = recorded_versions(self.lake, self.spec).values()
        numbers = {row.package_digest: row.model_version for row in known}
        return [
            entry.model_copy(update={"model_version": numbers[entry.package_digest]})
            for entry in super().entries()
            if entry.package_digest in numbers
        ]


def log_for_aliases(project: Project, lake: Lake) -> PromotionLog:
    """The promotion log that the aliases of this environment's registry follow.

    Args:
        project: Whose registry.
        lake: This environment's own.
    """
    production = lake.in_production(project.environment)
    return PromotionLog(lake, project.spec) if production is lake else ForeignLog(production, lake, project.spec)


def origins_of(lake: Lake, spec: ModelSpec, models: Iterable[ModelRef]) -> tuple[VersionOrigin, ...]:
    """The numbers that the models of a day have where they were trained; of those of this registry, none."""
    known = recorded_versions(lake, spec)
    rows = (known[version] for version in sorted({ref.version for ref in models}) if version in known)
    return tuple(row.origin for row in rows if row.origin is not None)


def arrived_package(lake: Lake, spec: ModelSpec, digest: str) -> VersionRow | None:
    """The version with this package that came from another registry; None where it has not arrived whole."""
    rows = recorded_versions(lake, spec).values()
    return next((row for row in rows if row.package_digest == digest and row.source), None)


def arrived(lake: Lake, training: Lake, spec: ModelSpec, source: str, version: int) -> VersionRow | None:
    """The version that has this number in another registry by now; None where it has not arrived whole.

    A registry that was made anew gives its numbers again. So the package that it has under the number decides; where
    its lake is away, the newest version that came by the number.

    Args:
        lake: Of production.
        training: Of training.
        spec: Whose versions.
        source: The environment of training.
        version: The number there.

    Raises:
        IntegrityError: Another version came by this number before, and the one that has it now did not.
    """
    rows = recorded_versions(lake, spec).values()
    by_number = [row for row in rows if (row.source, row.source_version) == (source, version)]
    newest = max(by_number, key=lambda row: row.model_version, default=None)
    try:
        there = recorded_versions(training, spec).get(version)
    except StorageError as error:
        log.warning("%s is not asked what its version %s is by now: %s", source, version, error.found)
        return newest
    found = None if there is None else arrived_package(lake, spec, there.package_digest)
    if found is None and newest is not None:
        now = "no package" if there is None else f"the package {there.package_digest}"
        raise IntegrityError(
            f"version {version} of {source} came with the package {newest.package_digest}, and has {now} there by now",
            expected="the version that has this number there by now",
            remedy=f"let it arrive first; the one that came is version {newest.model_version} here, without --from",
        )
    return found


def require_source(project: Project, source: str) -> None:
    """Refuses a registry that versions do not arrive from.

    Raises:
        UsageError: Names the one that they do.
    """
    here = project.environment
    training = here.registries.training
    if training is not None and source == training.name:
        return
    raise UsageError(
        f"versions of {project.spec.name} do not arrive in {here.name} from {source!r}",
        expected=f"--from {training.name}" if training else "no --from: this environment has one registry, its own",
        remedy="see `registries` in conf/, and docs/registries.md",
    )
