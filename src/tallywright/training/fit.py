"""Trains on a pinned snapshot: writes an evaluated package to the run folder, and logs an MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.snapshot import read_split
from tallywright.mlflow_names import ARTIFACT, SLICE, metric_name
from tallywright.observability import log
from tallywright.records import Record, digest_of
from tallywright.training.candidate import Candidate, Origin, feature_texts, make_candidate
from tallywright.training.evaluate import BaselineInputs, better_baselines, draw_plots
from tallywright.training.loop import FitRequest, Fitted, fit_network
from tallywright.training.matrices import Splits, make_splits
from tallywright.training.network import NetworkDims, NetworkSource, ScoringModule, find_network, learn_scaling
from tallywright.training.objective import learn_objective
from tallywright.training.targets import require_targets
from tallywright.training.tracking import LifecycleRun, TrainingLog, machine_tags, training_run
from tallywright.training.trial import Trial
from tallywright.training.user_code.door import user_code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from tallywright.data.delta.lake import Lake
    from tallywright.data.snapshot import Snapshot
    from tallywright.spec import Project
    from tallywright.spec.sections import Training
    from tallywright.training.checkpoint import Epoch

__all__ = ["TrainedModel", "train"]

Doing = Callable[[str, float | None], None]
TRIAL_SECONDS: Final = 120.0
"""A network is made and answers a handful of rows in this time, or never."""
CHECKPOINT: Final = "checkpoint.safetensors"
_RESULTS: Final = ("model", "logistic_regression", "linear_regression", "gradient_boosting")


class TrainedModel(Record):
    """A trained, evaluated and packaged model.

    `run_id` is MLflow's. `metrics` maps `model` and each baseline to its metrics on the holdout.
    """

    folder: str
    digest: str
    run_id: str
    metrics: dict[str, dict[str, float]]


def train(  # noqa: PLR0913 - what, from where and under which name are all the caller's to say
    project: Project,
    lake: Lake,
    snapshot: Snapshot,
    *,
    run_id: str,
    work: Path,
    code_version: str,
    doing: Doing = lambda _what, _limit: None,
) -> TrainedModel:
    """Trains, evaluates, packages and records one candidate; after a kill it goes on from the last checkpoint.

    Args:
        project: The model project.
        lake: Holds the tables the snapshot pins.
        snapshot: Versions and windows.
        run_id: The lifecycle run's own id; repeated, it means the same MLflow run and the same package.
        work: The run folder: gets `package/` and the checkpoint.
        code_version: The commit of the code, for the record.
        doing: Told what is about to be done, and how many seconds it may take (None: no limit of its own).

    Raises:
        TrackingError: MLflow cannot be used; said before anything is trained.
        InputError: Data that cannot be learnt from.
        SpecError: The network file is not usable.
    """
    spec = project.spec.training
    source = find_network(project.folder, spec.network.module)
    texts = feature_texts(project, source)
    with training_run(project, run_id) as run:
        doing("reading the training data", None)
        splits = make_splits(
            spec,
            read_split(project, lake, snapshot, "train"),
            read_split(project, lake, snapshot, "validation"),
            read_split(project, lake, snapshot, "holdout"),
        )
        require_targets(project.spec, [splits.train.table, splits.validation.table, splits.holdout.table])
        configuration = _configuration(spec, snapshot, splits, source, code_version)
        origin = Origin(project, snapshot, run.run_id, code_version, run.started_at, configuration, texts)
        with user_code(source.path, always=False):
            fitted, baselines = _fit(spec, splits, source, Fitting(digest_of(configuration), work / CHECKPOINT, doing))
            doing("evaluating and packaging the model", None)
            candidate = make_candidate(origin, splits, fitted, baselines, work)
        doing("recording the training in MLflow", None)
        _record(run, origin, splits, fitted, candidate)
    results: dict[str, dict[str, float]] = {
        name: candidate.evaluation[name] for name in _RESULTS if name in candidate.evaluation
    }
    for sentence in better_baselines(results, _compared_by(project, results["model"])):
        log.warning("%s", sentence)
    return TrainedModel(
        folder=str(candidate.package.folder), digest=candidate.package.digest, run_id=run.run_id, metrics=results
    )


def _compared_by(project: Project, metrics: Mapping[str, float]) -> str:
    """The metric by which the gate compares, or the task's first where that is no metric of the task."""
    spec = project.spec
    wanted = (spec.gates.primary_metric, *spec.training.kind.guards, *sorted(spec.training.kind.metrics))
    return next((name for name in wanted if name in metrics), spec.gates.primary_metric)


def _configuration(
    spec: Training, snapshot: Snapshot, splits: Splits, source: NetworkSource, code_version: str
) -> dict[str, Any]:
    """Everything that determines the weights: equal digests, equal bits (on one kind of machine)."""
    import torch

    return {
        "training": spec.as_json(),
        "data": {
            "fingerprint": snapshot.fingerprint,
            "rows": [len(part.rows.target) for part in (splits.train, splits.validation, splits.holdout)],
        },
        "preprocess": digest_of(splits.preprocess.model_dump(mode="json")),
        "network_sha256": source.sha256,
        "torch": torch.__version__,
        "code_version": code_version,
    }


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a fit is kept and told: the digest of its configuration, the checkpoint's file, who is told what goes on."""

    configuration: str
    checkpoint: Path
    doing: Doing


def _fit(spec: Training, splits: Splits, source: NetworkSource, fitting: Fitting) -> tuple[Fitted, BaselineInputs]:
    train_rows, validation = splits.train.rows, splits.validation.rows
    objective = learn_objective(spec.task, train_rows.target, spec.network.class_weight, positive=spec.positive)
    scaling = learn_scaling(train_rows.numeric, spec.numeric)
    dims = NetworkDims(scaling.width, splits.codes, spec.network.hidden, spec.network.dropout, objective.outputs)
    encoded = replace(train_rows, target=objective.encode(train_rows.target))
    target = objective.encode(validation.target)

    def module(*, quiet: bool = False) -> ScoringModule:
        network: torch.nn.Module = source.build(dims, quiet=quiet)
        return ScoringModule(network, scaling, objective)

    def told(epoch: Epoch) -> None:
        _log_epoch(epoch, spec.network.epochs)
        fitting.doing(f"epoch {epoch.epoch + 1} of at most {spec.network.epochs}", None)

    fitting.doing(f"trying {source.path.name} on a handful of rows", TRIAL_SECONDS)
    Trial(source.path, partial(module, quiet=True), dims, encoded, spec.seed).run()
    fitting.doing(f"epoch 1 of at most {spec.network.epochs}", None)
    request = FitRequest(
        module=module,
        train=encoded,
        validation=replace(validation, target=target),
        spec=spec,
        configuration=fitting.configuration,
        checkpoint=fitting.checkpoint,
        progress=told,
    )
    return fit_network(request), BaselineInputs(objective, scaling, splits.codes, encoded, spec.seed)


def _log_epoch(epoch: Epoch, epochs: int) -> None:
    log.info(
        "epoch %d of at most %d: loss %.4f, validation %.4f",
        epoch.epoch,
        epochs,
        epoch.train_loss,
        epoch.validation_loss,
    )


def _record(run: LifecycleRun, origin: Origin, splits: Splits, fitted: Fitted, candidate: Candidate) -> None:
    spec, history = origin.project.spec, fitted.progress.history
    truth = fitted.module.objective.numbered(splits.holdout.rows.target)
    plots = draw_plots(spec.training.task, history, truth, candidate.holdout_scores)
    run.log(
        TrainingLog(
            params=_flat(spec.training.as_json()),
            tags=_tags(origin, fitted, candidate),
            metrics={
                metric_name(subject, metric): value
                for subject, values in candidate.evaluation.items()
                for metric, value in values.items()
            },
            steps={
                "train_loss": tuple(epoch.train_loss for epoch in history),
                "validation_loss": tuple(epoch.validation_loss for epoch in history),
                "learning_rate": tuple(epoch.learning_rate for epoch in history),
            },
            files={f"plots/{name}": content for name, content in plots.items()} | _names_of_slices(candidate),
        )
    )


def _names_of_slices(candidate: Candidate) -> dict[str, bytes]:
    """The artifact that maps each metric of a slice to the slice's name: long values stand in no metric's name."""
    names = {
        metric_name(subject, metric): {"slice": subject.removeprefix(SLICE), "metric": metric}
        for subject, values in candidate.evaluation.items()
        if subject.startswith(SLICE)
        for metric in values
    }
    return {ARTIFACT: json.dumps(names, indent=1, ensure_ascii=True).encode()} if names else {}


def _tags(origin: Origin, fitted: Fitted, candidate: Candidate) -> dict[str, str]:
    snapshot, spec = origin.snapshot, origin.project.spec
    return {
        "code.version": origin.code_version,
        "data.features": f"{snapshot.features.table}@{snapshot.features.version}",
        "data.labels": f"{snapshot.labels.table}@{snapshot.labels.version}",
        "data.fingerprint": snapshot.fingerprint,
        "data.snapshot": snapshot.to_json(),
        "data.as_of": snapshot.as_of.isoformat(),
        "spec.digest": spec.digest(without=frozenset({"spec_version"})),
        "spec.training_digest": spec.training.digest(),
        "training.seed": str(spec.training.seed),
        "training.best_epoch": str(fitted.progress.best_epoch),
        "package.digest": candidate.package.digest,
        **machine_tags(fitted.device),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
