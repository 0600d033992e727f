"""Model versions in the MLflow registry: registering a package, fetching it again, and aliases that mirror the log."""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TrackingError, UsageError
from tallywright.mlflow_client import mlflow_client
from tallywright.observability import failpoint, log
from tallywright.packaging.package import Package, PackageCache, load_package
from tallywright.records import ModelRef, Promotion
from tallywright.registry.promotion_log import champion_lines, champion_on, previous, withdrawals
from tallywright.registry.versions_table import recorded_versions
from tallywright.spec.calendar import parse_day

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tallywright.registry.evidence import Evidence
    from tallywright.registry.promotion_log import PromotionLog
    from tallywright.spec import Environment, Project

_FIRST_ARTIFACT: Final = "package"
"""Where versions of the time before packages were artifacts by digest have theirs, below their run's artifacts."""

_LOOKS: Final = 8
"""How often the aliases are looked at, and what is left of them set, before a store that refuses is an error."""
CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
CHALLENGER: Final = "challenger"

DIGEST_TAG: Final = "tallywright.digest"
"""The tag of a version that names its package; one without it was not registered by Tallywright."""
_TRAINED_THROUGH: Final = "tallywright.trained_through"
_GATES: Final = "tallywright.gates"
_VERDICT: Final = "tallywright.verdict"
EVIDENCE_TAG: Final = "tallywright.evidence"
"""The digest of the evidence, which is an artifact of the run, `evidence/<digest>.json`."""
_JUDGED: Final = "tallywright.judged"
_SNAPSHOT: Final = "tallywright.snapshot"


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """A model version in the MLflow registry; `snapshot` is the JSON of its training snapshot, and may be cut short."""

    version: int
    digest: str
    snapshot: str
    created_at: datetime


def register(project: Project, folder: Path, *, run_id: str, evidence: Evidence, uploaded: bool = False) -> ModelRef:
    """Uploads a package to its lifecycle run and makes it a version; the same digest is never registered twice.

    Args:
        project: Whose registered model it becomes a version of.
        folder: The package as training wrote it; it is verified once more.
        run_id: The MLflow run of this lifecycle run, which holds the package as its artifact.
        evidence: What the gates found, good or bad; an artifact of the run and tags of the version. One that was
            refused can be looked at, never promoted.
        uploaded: The run holds the package already.

    Raises:
        PackageError: The folder is not the package it was.
        TrackingError: MLflow is missing, away, or has no such run.
    """
    package = load_package(folder)
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        _ensure_model(client, project)
        found = _by_digest(client, name, package.digest)
        if found is None:
            if not uploaded:
                _upload(client, package, run_id)
            found = _create(client, name, package, run_id)
        failpoint("version-created")
        client.log_text(run_id, evidence.to_json(), f"evidence/{evidence.digest}.json")
        failpoint("evidence-logged")
        for key, value in _tags(package, evidence).items():
            client.set_model_version_tag(name, str(found.version), key, value)
    return ModelRef(
        name=name,
        version=int(found.version),
        digest=package.digest,
        trained_through=package.meta.trained_through,
    )


def find(project: Project, version: int) -> ModelRef:
    """The reference of a registered version, as its tags have it: good for finding it, and for no decision.

    Raises:
        UsageError: There is no such version, or it was not registered by Tallywright.
        TrackingError: MLflow is missing or away.
    """
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        known = {int(item.version): item for item in versions_of(client, name)}
    found = known.get(version)
    if found is None or DIGEST_TAG not in found.tags:
        raise UsageError(
            f"the registry has no version {version} of {name}" if found is None else f"{name} {version} has no digest",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}",
            remedy=f"`tally versions {project.spec.name}` lists them"
            if known
            else f"train and register one: `tally train {project.spec.name} --date D`, or the DAG "
            f"{project.spec.name}__train",
        )
    return ModelRef(
        name=name,
        version=version,
        digest=found.tags[DIGEST_TAG],
        trained_through=_told(version, found.tags.get(_TRAINED_THROUGH)),
    )


def _told(version: int, text: str | None) -> date | None:
    """The date in a tag, which anybody may have edited; None where it is none."""
    found = None if text is None else parse_day(text)
    if text is not None and found is None:
        log.warning("the tag %s of version %s says %r, which is no date", _TRAINED_THROUGH, version, text)
    return found


def find_digest(project: Project, digest: str) -> ModelRef | None:
    """The reference of the version with this package; None when it was never registered.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        found = _by_digest(client, name, digest)
    return None if found is None else find(project, int(found.version))


def registered_versions(project: Project) -> list[RegistryVersion]:
    """All versions that Tallywright has registered, oldest first.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    with mlflow_client(project.environment.tracking.address) as client:
        found = versions_of(client, project.spec.registered_name)
    return sorted(
        (
            RegistryVersion(
                version=int(item.version),
                digest=item.tags[DIGEST_TAG],
                snapshot=item.tags.get(_SNAPSHOT, ""),
                created_at=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
            )
            for item in found
            if DIGEST_TAG in item.tags
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
    with mlflow_client(project.environment.tracking.address) as client:
        found = client.get_model_version(name, str(version))
        artifact = str(found.source).removeprefix(f"runs:/{found.run_id}/")
        # A source of another form is one that somebody else registered; its package would be where it always was.
        artifact = artifact if "://" not in artifact and ":/" not in artifact else _FIRST_ARTIFACT
        return _downloaded(client, found.run_id, artifact, digest, cache).folder


def upload(project: Project, package: Package, run_id: str) -> None:
    """Makes a package an artifact of its MLflow run, by its digest; repeating it changes nothing.

    Raises:
        TrackingError: MLflow is missing, away, or has no such run.
    """
    with mlflow_client(project.environment.tracking.address) as client:
        _upload(client, package, run_id)


def fetch_candidate(project: Project, run_id: str, digest: str, cache: PackageCache) -> Package:
    """The verified package that a run trained, registered or not; from the cache where it holds it.

    Args:
        project: Whose run.
        run_id: MLflow's id of the run.
        digest: The package's.
        cache: Where it is kept on this machine.

    Raises:
        PackageError: What the run holds has another digest, or was altered.
        TrackingError: MLflow is missing, away, or the run holds no such package.
    """
    cached = cache.get(digest)
    if cached is not None:
        return cached
    with mlflow_client(project.environment.tracking.address) as client:
        return _downloaded(client, run_id, _artifact(digest), digest, cache)


def _downloaded(client: Any, run_id: str, artifact: str, digest: str, cache: PackageCache) -> Package:
    with tempfile.TemporaryDirectory() as temporary:
        downloaded = Path(client.download_artifacts(run_id, artifact, temporary))
        load_package(downloaded, digest=digest)
        return cache.put(downloaded)


def _artifact(digest: str) -> str:
    """The folder of a package below its run's artifacts: a run that trains twice keeps both."""
    return f"packages/{digest}"


@dataclass(frozen=True, slots=True)
class StaleAlias:
    """An alias of the registry that differs from the promotion log; None where it is not there, or must not be."""

    alias: str
    found: int | None
    wanted: int | None

    def __str__(self) -> str:
        found, wanted = (f"version {one}" if one else "no version" for one in (self.found, self.wanted))
        return f"the alias {self.alias} names {found}, by the promotion log it is {wanted}"


def project_aliases(project: Project, promotions: PromotionLog) -> list[str]:
    """Sets the registry's aliases from the promotion log, and returns the changes as texts.

    `champion` and `previous` follow the log; `challenger` is the newest version that passed its gates, by the lake's
    own record, if it is newer than all that were ever in production.

    Raises:
        TrackingError: MLflow is missing or away; the log stays the truth, the next call repairs.
    """
    name, uri = project.spec.registered_name, project.environment.tracking.address
    done: list[StaleAlias] = []
    for attempt in range(_LOOKS):
        with mlflow_client(uri) as client:
            stale = _stale(client, name, promotions)
        try:
            with mlflow_client(uri) as client:
                for one in stale:
                    if one.wanted is None:
                        client.delete_registered_model_alias(name, one.alias)
                    else:
                        client.set_registered_model_alias(name, one.alias, str(one.wanted))
                    done.append(one)
            break
        except TrackingError:
            # MLflow's aliases race with themselves: where another process was faster, nothing is left to be done,
            # and the next look says so. A store that is away fails that look.
            if attempt == _LOOKS - 1:
                raise
            time.sleep(random.uniform(0.05, 0.2) * (attempt + 1))
    return [f"{one.alias}: {one.found or 'none'} -> {one.wanted or 'none'}" for one in done]


def stale_aliases(project: Project, promotions: PromotionLog) -> list[StaleAlias]:
    """The aliases `champion` and `previous` that are not what the promotion log says; nothing is changed.

    `challenger` is no matter of the log: it follows a registration only with the next promotion.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    with mlflow_client(project.environment.tracking.address) as client:
        stale = _stale(client, project.spec.registered_name, promotions)
    return [one for one in stale if one.alias != CHALLENGER]


def ping(environment: Environment) -> None:
    """Sends one small request to the registry, to check that it can be reached.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    with mlflow_client(environment.tracking.address) as client:
        client.search_registered_models(max_results=1)


def _stale(client: Any, name: str, promotions: PromotionLog) -> list[StaleAlias]:
    versions = [int(item.version) for item in versions_of(client, name)]
    if not versions:
        return []
    found = {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}
    recorded = recorded_versions(promotions.lake, promotions.spec).values()
    wanted = _wanted(promotions.entries(), versions, {row.model_version for row in recorded if row.gates_passed})
    return [StaleAlias(alias, found.get(alias), to) for alias, to in wanted.items() if found.get(alias) != to]


def _wanted(entries: Sequence[Promotion], versions: Sequence[int], passed: Collection[int]) -> dict[str, int | None]:
    """Alias to version, None where the alias must not exist; a version that the registry lost gets no alias."""
    champion, before = champion_on(entries, None), previous(entries)
    newest_promoted = max((entry.model_version for entry in champion_lines(entries)), default=0)
    fit = (version for version in versions if version in passed and version not in withdrawals(entries))
    newest = max(fit, default=0)
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


def versions_of(client: Any, name: str) -> list[Any]:
    """All versions of a registered model, as MLflow has them; none where there is no such model."""
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
    same = [item for item in versions_of(client, name) if item.tags.get(DIGEST_TAG) == digest]
    return min(same, key=lambda item: int(item.version), default=None)


def _upload(client: Any, package: Package, run_id: str) -> None:
    client.get_run(run_id)
    client.log_artifacts(run_id, str(package.folder), artifact_path=_artifact(package.digest))
    failpoint("package-uploaded")


def _create(client: Any, name: str, package: Package, run_id: str) -> Any:
    artifact = _artifact(package.digest)
    # `runs:/` and not the folder itself: a server refuses file addresses.
    tags = {DIGEST_TAG: package.digest}
    return client.create_model_version(name, source=f"runs:/{run_id}/{artifact}", run_id=run_id, tags=tags)


def _tags(package: Package, evidence: Evidence) -> dict[str, str]:
    verdicts = {report.gate: report.verdict.value for report in evidence.reports}
    return {
        _VERDICT: evidence.verdict.value,
        EVIDENCE_TAG: evidence.digest,
        _JUDGED: evidence.judged_digest,
        _TRAINED_THROUGH: str(package.meta.trained_through),
        _GATES: ", ".join(f"{gate}: {verdict}" for gate, verdict in sorted(verdicts.items())) or "none",
        "tallywright.code_version": package.meta.code_version,
        "tallywright.owner": package.meta.owner,
        _SNAPSHOT: package.meta.snapshot_json[:4000],
    }
