"""The MLflow run of a lifecycle run: parameters, metrics by epoch, plots, and the origin of the model.

Every call may be repeated: a retried step finds its run again and logs the same points, not a second set. Whatever
MLflow raises becomes a `TrackingError`. No torch here: the lifecycle may open a run before it imports any.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from tallywright.errors import TrackingError, first_line
from tallywright.mlflow_client import LAKE_TAG, TrackingGoneError, connect, lake_digest, mlflow_errors
from tallywright.observability import log
from tallywright.records import digest_of
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tallywright.spec import Project

RUN_TAG: Final = "tallywright.run"
_SEARCH_TAG: Final = "tallywright.run_digest"
"""The digest of the run's id: an id may hold any character, and MLflow's filters have no way to quote them all."""
HANDED_TAG: Final = "tallywright.handed_over"
"""Begins the tags with the digests of what a step handed over to later ones."""
_MOST_PARAMS: Final = 100
_MOST_METRICS: Final = 1000
_LONGEST_TAG: Final = 5000
_LONGEST_PARAM: Final = 6000
_REFUSALS: Final = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})
"""Codes by which a store says that it does not take what it was given; it works, and asking again is of no use."""
_LIBRARIES: Final = (
    *("tallywright", "torch", "lightgbm", "xgboost", "scikit-learn", "skl2onnx", "numpy", "onnx", "onnxruntime"),
    *("pyarrow", "deltalake", "optuna"),
)


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
        tags: The run's tags when it was looked up.
    """

    client: Any
    run_id: str
    started_at: datetime
    uri: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def log(self, content: TrainingLog) -> None:
        """Logs everything; again with the same content, it changes nothing. What the store refuses is a warning.

        Raises:
            TrackingError: MLflow cannot be reached, or holds other parameters for this run.
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
        params = {name: value[:_LONGEST_PARAM] for name, value in content.params.items()}
        tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in content.tags.items()]
        with mlflow_errors(self.uri, "log the training"):
            self._require_same(params)
            self._log_all("tags", tags, _MOST_PARAMS)
            self._log_all("params", [Param(name, value) for name, value in params.items()], _MOST_PARAMS)
            self._log_all("metrics", points, _MOST_METRICS)
            self._log_plots(content.files)

    def _require_same(self, params: Mapping[str, str]) -> None:
        """Refuses other parameters than an earlier attempt of this run has logged: it would not be the same run."""
        known = self.client.get_run(self.run_id).data.params
        other = sorted(name for name, value in params.items() if known.get(name, value) != value)
        if other:
            raise TrackingError(
                f"MLflow at {without_credentials(self.uri)} could not log the training: run {self.run_id} holds other "
                f"values of {', '.join(other[:5])}",
                expected="the parameters that this run was started with",
                remedy="use a new run id",
            )

    def _log_all(self, kind: str, entities: Sequence[Any], most: int) -> None:
        for first in range(0, len(entities), most):
            self._log_some(kind, entities[first : first + most])

    def _log_some(self, kind: str, entities: Sequence[Any]) -> None:
        """Logs entities of one kind; what the store refuses is a record that is missing, and costs no training."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_batch(self.run_id, **{kind: entities})
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            if len(entities) == 1:
                log.warning("MLflow refuses one of the %s, which is left out: %s", kind, first_line(error))
                return
            half = len(entities) // 2
            self._log_some(kind, entities[:half])
            self._log_some(kind, entities[half:])

    def note(self, tag: str, value: str) -> None:
        """Sets a tag of the run.

        Raises:
            TrackingError: MLflow refuses or cannot be reached.
        """
        with mlflow_errors(self.uri, "set a tag"):
            self.client.set_tag(self.run_id, tag, value[:_LONGEST_TAG])

    def hand_over(self, name: str, content: bytes) -> None:
        """Keeps a small file for a later step, which may run on another machine, as an artifact under its digest.

        Raises:
            TrackingError: MLflow refuses or cannot be reached.
        """
        digest = hashlib.sha256(content).hexdigest()
        with mlflow_errors(self.uri, f"keep the {name} of the run"):
            self._log_files({_handed(name, digest): content})
            self.client.set_tag(self.run_id, f"{HANDED_TAG}.{name}", digest)

    @property
    def handed_names(self) -> frozenset[str]:
        """The names of the files that were handed over when the run was looked up."""
        begin = f"{HANDED_TAG}."
        return frozenset(tag.removeprefix(begin) for tag in self.tags if tag.startswith(begin))

    def handed_over(self, name: str) -> bytes | None:
        """The newest file of that name that an earlier step handed over, verified; None when there is none.

        Raises:
            TrackingError: MLflow cannot be reached, or has lost or altered the artifact.
        """
        digest = self.tags.get(f"{HANDED_TAG}.{name}")
        if digest is None:
            return None
        with mlflow_errors(self.uri, f"give the {name} of the run"), tempfile.TemporaryDirectory() as folder:
            content = Path(self.client.download_artifacts(self.run_id, _handed(name, digest), folder)).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise TrackingError(
                f"the {name} that MLflow holds of run {self.run_id} is not what was handed over",
                expected=f"the digest {digest[:16]}…",
                remedy="run the train pipeline again, with another run id",
            )
        return content

    def _log_plots(self, files: Mapping[str, bytes]) -> None:
        """Logs files of which a refused one is a record that is missing, and costs no training."""
        from mlflow.exceptions import MlflowException

        try:
            self._log_files(files)
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            log.warning("MLflow refuses the plots, which are left out: %s", first_line(error))

    def _log_files(self, files: Mapping[str, bytes]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory(prefix="tallywright-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(self.run_id, folder)


def _handed(name: str, digest: str) -> str:
    return f"handed_over/{digest}/{name}"


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
    with mlflow_errors(run.uri, "close the run"):
        run.client.set_terminated(run.run_id, "FINISHED")


def open_run(project: Project, run_key: str) -> LifecycleRun:
    """The MLflow run of a lifecycle run: found by its tag, else made.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    uri = project.environment.tracking.address
    client = connect(uri)
    with mlflow_errors(uri, "open a run"):
        experiment = _experiment(client, project)
        run = _found(client, experiment, run_key)
        if run is not None:
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            tags = {RUN_TAG: run_key, _SEARCH_TAG: digest_of(run_key), "tallywright.model": project.spec.name}
            tags |= {LAKE_TAG: lake_digest(project.environment.storage.lake)}
            run = client.create_run(experiment, run_name=run_key, tags=tags)
    return _as_lifecycle_run(client, run, uri)


def find_run(project: Project, run_key: str) -> LifecycleRun | None:
    """The MLflow run of a lifecycle run as it stands; None when no step of it has opened one.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    uri = project.environment.tracking.address
    client = connect(uri)
    with mlflow_errors(uri, "find a run"):
        experiment = client.get_experiment_by_name(_experiment_name(project))
        run = None if experiment is None else _found(client, experiment.experiment_id, run_key)
    return None if run is None else _as_lifecycle_run(client, run, uri)


def run_of(project: Project, run_id: str) -> LifecycleRun:
    """A run by MLflow's id, as it stands.

    Raises:
        TrackingError: MLflow is missing or away, or has no such run.
    """
    uri = project.environment.tracking.address
    client = connect(uri)
    with mlflow_errors(uri, "find a run"):
        return _as_lifecycle_run(client, client.get_run(run_id), uri)


def experiment_problem(project: Project) -> TrackingError | None:
    """Why no run could be opened for this model; None when one could, or nothing was opened yet.

    Raises:
        TrackingError: MLflow is not installed or its store cannot be used.
    """
    uri = project.environment.tracking.address
    client = connect(uri)
    with mlflow_errors(uri, "find an experiment"):
        experiment = client.get_experiment_by_name(_experiment_name(project))
    try:
        if experiment is not None:
            _require_usable(experiment, project)
    except TrackingError as error:
        return error
    return None


def _found(client: Any, experiment: str, run_key: str) -> Any | None:
    query = f"tags.`{_SEARCH_TAG}` = '{digest_of(run_key)}'"
    return next(iter(client.search_runs([experiment], filter_string=query, max_results=1)), None)


def _as_lifecycle_run(client: Any, run: Any, uri: str) -> LifecycleRun:
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return LifecycleRun(client, run.info.run_id, started, uri, dict(run.data.tags))


def _experiment_name(project: Project) -> str:
    return f"{project.environment.tracking.experiment_prefix}{project.spec.name}"


def _experiment(client: Any, project: Project) -> str:
    from mlflow.exceptions import MlflowException

    name = _experiment_name(project)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts(project)))
        except MlflowException:
            # Another process may have made it a moment ago.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    _require_usable(found, project)
    return str(found.experiment_id)


def _require_usable(experiment: Any, project: Project) -> None:
    """Refuses an experiment that was deleted, or whose files would land in another project's folder.

    Raises:
        TrackingGoneError: Names what can be done; nothing was written yet.
    """
    uri, number = without_credentials(project.environment.tracking.uri), experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise TrackingGoneError(
            f"the experiment {number} ({experiment.name}) of MLflow at {uri} is {experiment.lifecycle_stage}",
            expected="an experiment that is active",
            remedy=f"restore it (`MLFLOW_TRACKING_URI={uri} mlflow experiments restore -x {number}`, or the button in "
            "MLflow's UI), or choose another tracking.experiment_prefix in conf/",
        )
    wanted, found = _artifacts(project), str(experiment.artifact_location)
    if wanted is None or "://" not in found or wanted.rstrip("/") == found.rstrip("/"):
        return
    if not found.startswith("file://") or _inside(found, project):
        return  # a store, or a place in the project, that somebody chose
    raise TrackingGoneError(
        f"the experiment {number} ({experiment.name}) of MLflow at {uri} keeps its files in {found}, and conf/ says "
        f"{wanted}: this project was copied from there, or moved",
        expected="nothing written outside of the project unless its conf/ says so",
        remedy="write another tracking.experiment_prefix in conf/, such as `experiment_prefix: copy/`: versions that "
        "are registered stay; or name that place in tracking.artifacts, if it is meant",
    )


def _inside(location: str, project: Project) -> bool:
    return Path(unquote(urlsplit(location).path)).is_relative_to(project.root)


def _artifacts(project: Project) -> str | None:
    """The artifact location; None leaves it to a tracking server."""
    place = project.environment.tracking.artifacts
    if "://" in place:
        return f"{place.rstrip('/')}/{project.spec.name}"
    if project.environment.tracking.is_server:
        return None
    return (Path(place) / project.spec.name).absolute().as_uri()


def machine_tags(device: str) -> dict[str, str]:
    """Hardware and library versions as tags: why a repetition elsewhere may differ in the last bit.

    `device` is where the fit ran.
    """
    tags = {
        "hardware.device": device,
        "hardware.processor": _processor(),
        "hardware.cores": str(os.cpu_count() or 0),
        "hardware.memory_gb": _memory_gb(),
        "environment.system": platform.platform(),
        "environment.python": platform.python_version(),
    }
    if device.startswith("cuda"):
        import torch

        tags["hardware.gpu"] = torch.cuda.get_device_name(0)
    return tags | {f"environment.{name}": _version(name) for name in _LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f}"
    except (ValueError, OSError):
        return "unknown"
