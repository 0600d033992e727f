"""The one MLflow run of a lifecycle run: parameters, metrics by epoch, plots, and where everything came from.

Every call may be repeated: a retried step finds its run again and logs the same points, not a second set. Whatever
MLflow raises becomes a `TrackingError`. No torch here: the lifecycle may open a run before it imports any.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError, TrackingError
from tallywright.observability import without_credentials
from tallywright.records import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallywright.spec import Project

RUN_TAG: Final = "tallywright.run"
_SEARCH_TAG: Final = "tallywright.run_digest"
"""The digest of the run's id: an id may hold any character, and MLflow's filters have no way to quote them all."""
_MOST_PARAMS: Final = 100
_MOST_METRICS: Final = 1000
_LONGEST_TAG: Final = 5000

_DEFAULTS: Final = {
    # Nothing about a run leaves the machine unasked.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # An unreachable server should be said within a minute, not after MLflow's own eight rounds.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Standard output belongs to results, standard error to log lines.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What is logged about one training.

    `steps` maps a metric to its values by epoch, from epoch 1; `files` maps an artifact path to its content.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LifecycleRun:
    """An open MLflow run.

    Args:
        client: An `MlflowClient`.
        run_id: MLflow's id of the run.
        started_at: When the run was first opened (UTC); the same in every retry.
        uri: The tracking store, for error texts.
    """

    client: Any
    run_id: str
    started_at: datetime
    uri: str

    def log(self, content: TrainingLog) -> None:
        """Logs everything; again with the same content, it changes nothing.

        Raises:
            TrackingError: MLflow refuses, cannot be reached, or holds other parameters for this run.
        """
        from mlflow.entities import Metric, Param, RunTag

        # The time of a point is part of its identity: derived from the run's start, a repetition is the same point.
        start = int(self.started_at.timestamp() * 1000)
        points = [Metric(name, value, start, 0) for name, value in content.metrics.items()]
        points += [
            Metric(name, value, start + epoch, epoch)
            for name, values in content.steps.items()
            for epoch, value in enumerate(values, start=1)
        ]
        params = [Param(name, value) for name, value in content.params.items()]
        tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in content.tags.items()]
        with _reported(self.uri, "log the training"):
            self.client.log_batch(self.run_id, tags=tags)
            for first in range(0, len(params), _MOST_PARAMS):
                self.client.log_batch(self.run_id, params=params[first : first + _MOST_PARAMS])
            for first in range(0, len(points), _MOST_METRICS):
                self.client.log_batch(self.run_id, metrics=points[first : first + _MOST_METRICS])
            self._log_files(content.files)

    def _log_files(self, files: Mapping[str, bytes]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="tallywright-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(self.run_id, folder)


@contextmanager
def training_run(project: Project, run_key: str) -> Iterator[LifecycleRun]:
    """Opens the run of this lifecycle run, or the same one again; closes it as FINISHED or FAILED.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    run = open_run(project, run_key)
    try:
        yield run
    except BaseException:
        # What went wrong is on its way up already; that MLflow cannot note it adds nothing.
        with suppress(Exception):
            run.client.set_terminated(run.run_id, "FAILED")
        raise
    with _reported(run.uri, "close the run"):
        run.client.set_terminated(run.run_id, "FINISHED")


def open_run(project: Project, run_key: str) -> LifecycleRun:
    """The MLflow run of a lifecycle run: found by its tag, else made.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    uri = project.environment.tracking.uri
    client = connect(uri)
    with _reported(uri, "open a run"):
        experiment = _experiment(client, project)
        digest = digest_of(run_key)
        found = client.search_runs([experiment], filter_string=f"tags.`{_SEARCH_TAG}` = '{digest}'", max_results=1)
        if found:
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {RUN_TAG: run_key, _SEARCH_TAG: digest, "tallywright.model": project.spec.name}
            run = client.create_run(experiment, run_name=run_key, tags=tags)
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return LifecycleRun(client, run.info.run_id, started, uri)


def _experiment(client: Any, project: Project) -> str:
    from mlflow.exceptions import MlflowException

    name = f"{project.environment.tracking.experiment_prefix}{project.spec.name}"
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts(project)))
        except MlflowException:
            # Another process may have made it a moment ago.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifacts(project: Project) -> str | None:
    """Where artifacts go; None lets a server decide, which alone knows its own disks."""
    place = project.environment.tracking.artifacts
    if "://" in place:
        return f"{place.rstrip('/')}/{project.spec.name}"
    if project.environment.tracking.uri.startswith("http"):
        return None
    return (Path(place) / project.spec.name).absolute().as_uri()


def connect(uri: str) -> Any:
    """An `MlflowClient` of the store; a new SQLite store is made with its folder.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    # The first connection to a new database would otherwise print each of its migrations.
    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise TrackingError(
            f"MLflow cannot be imported: {error}",
            expected="the packages of the extra `train`",
            remedy="pip install 'tallywright[train]'",
        ) from error
    with _reported(uri, "connect"):
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # MLflow's tables use a loader that SQLAlchemy 2.1 deprecates; the class of the warning is SQLAlchemy's own.
            warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
            return MlflowClient(tracking_uri=uri)


@contextmanager
def _reported(uri: str, doing: str) -> Iterator[None]:
    try:
        yield
    except TallyError:
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            without_credentials(f"MLflow at {uri} could not {doing}: {text}"),
            expected="a tracking store or server that can be reached and written",
            remedy="check `tracking` in the environment overlay (conf/<env>.yaml) and `tally doctor`; if the run holds "
            "other parameters, use a new run id",
        ) from error
