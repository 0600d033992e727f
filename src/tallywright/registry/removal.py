"""What a model has in MLflow because of one lake, and its removal: versions and runs of others stay untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.mlflow_client import LAKE_TAG, lake_digest, mlflow_client
from tallywright.registry.versions import DIGEST_TAG, versions_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tallywright.spec import Project

_MODEL_TAG: Final = "tallywright.model"
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class OwnInRegistry:
    """What belongs to a model of one lake: numbers of registered versions, and ids of runs."""

    versions: tuple[int, ...]
    runs: tuple[str, ...]


def own_in_registry(project: Project, digests: Collection[str]) -> OwnInRegistry:
    """The versions of packages that the lake knows, and the runs that made them or name the lake.

    Args:
        project: The model, its lake, its tracking store and its experiment.
        digests: Digests of the packages that the lake has recorded as registered.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    lake = lake_digest(project.environment.storage.lake)
    with mlflow_client(project.environment.tracking.address) as client:
        own = [
            item for item in versions_of(client, project.spec.registered_name) if item.tags.get(DIGEST_TAG) in digests
        ]
        made = {item.run_id for item in own if item.run_id}
        runs = [
            run.info.run_id
            for run in _runs(client, project)
            if run.data.tags.get(_MODEL_TAG) == project.spec.name
            and (run.info.run_id in made or run.data.tags.get(LAKE_TAG) == lake)
        ]
    return OwnInRegistry(tuple(sorted(int(item.version) for item in own)), tuple(runs))


def remove_from_registry(project: Project, own: OwnInRegistry) -> None:
    """Deletes these versions, the registered model where none is left, and marks these runs as deleted.

    What is gone already is no error: an interrupted removal is repeated. MLflow keeps the files of deleted runs until
    `mlflow gc`.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        for version in own.versions:
            client.delete_model_version(name, str(version))
        if own.versions and not versions_of(client, name):
            client.delete_registered_model(name)
        for run in own.runs:
            client.delete_run(run)


def _runs(client: Any, project: Project) -> Iterator[Any]:
    experiment = client.get_experiment_by_name(f"{project.environment.tracking.experiment_prefix}{project.spec.name}")
    if experiment is None:
        return
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
