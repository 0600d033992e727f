"""Model versions in the MLflow registry: registering a package, fetching it again, and aliases that mirror the log."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import UsageError
from tallywright.mlflow_client import mlflow_client
from tallywright.packaging.package import Package, PackageCache, load_package
from tallywright.records import GateReport, ModelRef, Promotion
from tallywright.registry.promotion_log import champion_on, previous

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.registry.promotion_log import PromotionLog
    from tallywright.spec import Environment, Project

ARTIFACT: Final = "package"
"""The folder below a run's artifacts that holds the package."""

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
CHALLENGER: Final = "challenger"

_DIGEST: Final = "tallywright.digest"
_TRAINED_THROUGH: Final = "tallywright.trained_through"
_GATES: Final = "tallywright.gates"
_SNAPSHOT: Final = "tallywright.snapshot"


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """A model version in the MLflow registry; `snapshot` is the JSON of its training snapshot, and may be cut short."""

    version: int
    digest: str
    snapshot: str
    created_at: datetime


def register(project: Project, folder: Path, *, run_id: str, reports: Sequence[GateReport]) -> ModelRef:
    """Uploads a package to its lifecycle run and makes it a version; the same digest is never registered twice.

    Args:
        project: Whose registered model it becomes a version of.
        folder: The package as training wrote it; it is verified once more.
        run_id: The MLflow run of this lifecycle run, which holds the package as its artifact.
        reports: What the gates found; kept as tags, good or bad. A failed candidate can be looked at, never promoted.

    Raises:
        PackageError: The folder is not the package it was.
        TrackingError: MLflow is missing, away, or has no such run.
    """
    package = load_package(folder)
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.uri) as client:
        _ensure_model(client, project)
        found = _by_digest(client, name, package.digest)
        if found is None:
            found = _upload(client, name, package, run_id)
        for key, value in _evidence(package, reports).items():
            client.set_model_version_tag(name, str(found.version), key, value)
    return ModelRef(
        name=name,
        version=int(found.version),
        digest=package.digest,
        trained_through=package.meta.trained_through,
    )


def find(project: Project, version: int) -> ModelRef:
    """The reference of a registered version.

    Raises:
        UsageError: There is no such version, or it was not registered by Tallywright.
        TrackingError: MLflow is missing or away.
    """
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.uri) as client:
        known = {int(item.version): item for item in _versions(client, name)}
    found = known.get(version)
    if found is None or _DIGEST not in found.tags:
        raise UsageError(
            f"the registry has no version {version} of {name}" if found is None else f"{name} {version} has no digest",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}",
            remedy=f"train and register one: trigger the DAG {project.spec.name}__train",
        )
    return ModelRef(
        name=name,
        version=version,
        digest=found.tags[_DIGEST],
        trained_through=found.tags.get(_TRAINED_THROUGH),
    )


def registered_versions(project: Project) -> list[RegistryVersion]:
    """All versions that Tallywright has registered, oldest first.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    with mlflow_client(project.environment.tracking.uri) as client:
        found = _versions(client, project.spec.registered_name)
    return sorted(
        (
            RegistryVersion(
                version=int(item.version),
                digest=item.tags[_DIGEST],
                snapshot=item.tags.get(_SNAPSHOT, ""),
                created_at=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
            )
            for item in found
            if _DIGEST in item.tags
        ),
        key=lambda item: item.version,
    )


def fetch(project: Project, version: int, digest: str, *, into: Path | None = None) -> Path:
    """The verified folder of a version in this machine's cache (or `into`); downloads it when it is not there.

    Raises:
        PackageError: What the registry holds has another digest, or was altered.
        TrackingError: MLflow is missing, away, or has no such version.
    """
    cache = PackageCache(into or Path(project.environment.storage.cache))
    cached = cache.get(digest)
    if cached is not None:
        return cached.folder
    name = project.spec.registered_name
    with tempfile.TemporaryDirectory() as temporary:
        with mlflow_client(project.environment.tracking.uri) as client:
            found = client.get_model_version(name, str(version))
            downloaded = Path(client.download_artifacts(found.run_id, ARTIFACT, temporary))
        load_package(downloaded, digest=digest)
        return cache.put(downloaded).folder


def project_aliases(project: Project, log: PromotionLog) -> list[str]:
    """Sets the registry's aliases from the promotion log, and returns the changes as texts.

    `champion` and `previous` follow the log; `challenger` is the newest version, if it is newer than all that were ever
    in production.

    Raises:
        TrackingError: MLflow is missing or away; the log stays the truth, the next call repairs.
    """
    name, entries = project.spec.registered_name, log.entries()
    with mlflow_client(project.environment.tracking.uri) as client:
        versions = [int(item.version) for item in _versions(client, name)]
        if not versions:
            return []
        wanted = _wanted(entries, versions)
        found = {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}
        repairs = [alias for alias in wanted if found.get(alias) != wanted[alias]]
        for alias in repairs:
            if wanted[alias] is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(wanted[alias]))
    return [f"{alias}: {found.get(alias) or 'none'} -> {wanted[alias] or 'none'}" for alias in repairs]


def ping(environment: Environment) -> None:
    """Sends one small request to the registry, to check that it can be reached.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    with mlflow_client(environment.tracking.uri) as client:
        client.search_registered_models(max_results=1)


def _wanted(entries: Sequence[Promotion], versions: Sequence[int]) -> dict[str, int | None]:
    """Alias to version, None where the alias must not exist; a version that the registry lost gets no alias."""
    champion, before = champion_on(entries, None), previous(entries)
    newest_promoted = max((entry.model_version for entry in entries), default=0)
    newest = max(versions)
    wanted = {
        CHAMPION: champion.model_version if champion else None,
        PREVIOUS: before.model_version if before else None,
        CHALLENGER: newest if newest > newest_promoted else None,
    }
    return {alias: version if version in versions else None for alias, version in wanted.items()}


def _ensure_model(client: Any, project: Project) -> None:
    from mlflow.exceptions import MlflowException

    spec = project.spec
    try:
        client.create_registered_model(
            spec.registered_name,
            tags={"tallywright.model": spec.name, "tallywright.owner": spec.owner.name},
            description=spec.description,
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: Any, name: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=200, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _by_digest(client: Any, name: str, digest: str) -> Any | None:
    """The lowest version number with this digest: two writers may have made two, and all must use the same one."""
    same = [item for item in _versions(client, name) if item.tags.get(_DIGEST) == digest]
    return min(same, key=lambda item: int(item.version), default=None)


def _upload(client: Any, name: str, package: Package, run_id: str) -> Any:
    client.get_run(run_id)
    client.log_artifacts(run_id, str(package.folder), artifact_path=ARTIFACT)
    # `runs:/` and not the folder itself: a server refuses file addresses.
    tags = {_DIGEST: package.digest}
    return client.create_model_version(name, source=f"runs:/{run_id}/{ARTIFACT}", run_id=run_id, tags=tags)


def _evidence(package: Package, reports: Sequence[GateReport]) -> dict[str, str]:
    verdicts = {report.gate: report.verdict.value for report in reports}
    return {
        _TRAINED_THROUGH: str(package.meta.trained_through),
        _GATES: ", ".join(f"{gate}: {verdict}" for gate, verdict in sorted(verdicts.items())) or "none",
        "tallywright.code_version": package.meta.code_version,
        "tallywright.owner": package.meta.owner,
        _SNAPSHOT: package.meta.snapshot_json[:4000],
    }
