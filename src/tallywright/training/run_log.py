"""What MLflow is told about a training and its refit: parameters, figures, curves, plots, and where all came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tallywright.mlflow_names import ARTIFACT, SLICE, metric_name
from tallywright.packaging.meta import ADOPTED, TUNED
from tallywright.spec.tuning import outcomes_told
from tallywright.training.evaluate import draw_plots
from tallywright.training.tracking import LifecycleRun, TrainingLog, machine_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.packaging.package import Package
    from tallywright.training.candidate import Candidate, Learnt, Origin

PARITY: Final = "parity"
_REFIT: Final = "refit"


def record_training(run: LifecycleRun, origin: Origin, learnt: Learnt, candidate: Candidate) -> None:
    """Logs the fit and the evaluation of a judged package."""
    spec, curves = origin.project.spec, learnt.fitted.curves
    truth = learnt.objective.numbered(learnt.splits.holdout.rows.target)
    plots = draw_plots(learnt.objective, curves, truth, candidate.holdout_scores)
    run.log(
        TrainingLog(
            params=_flat(spec.training.as_json()),
            tags=_tags(origin, learnt, candidate),
            metrics={
                metric_name(subject, metric): value
                for subject, values in candidate.evaluation.items()
                for metric, value in values.items()
            }
            | {PARITY: candidate.parity},
            steps=curves,
            files={f"plots/{name}": content for name, content in plots.items()} | _names_of_slices(candidate),
        )
    )


def record_tuning(run: LifecycleRun, name: str, tuned: Mapping[str, Any]) -> None:
    """Logs what a search has chosen for the estimator of that name; its trials are runs of their own."""
    run.log(
        TrainingLog(
            params={f"{TUNED}.{parameter}": str(value) for parameter, value in tuned["parameters"].items()},
            tags={f"{TUNED}.estimator": name, f"{TUNED}.trials": f"{tuned['trials']}: {outcomes_told(tuned)}"},
            # An estimator may have any name, and its figures on the holdout are `<name>/<metric>`.
            metrics={f"tuning/best/{tuned['metric']}": tuned["value"]},
        )
    )


def record_refit(run: LifecycleRun, learnt: Learnt, package: Package, parity: float) -> None:
    """Logs a refit beside the training that it repeats, whose figures stay."""
    fitted = learnt.fitted
    tags = {
        "digest": package.digest,
        "rounds": str(fitted.rounds),
        "rows": str(len(learnt.splits.train.rows.target)),
        "fitted_through": str(package.meta.fitted_through),
    }
    run.log(
        TrainingLog(
            tags={f"{_REFIT}.{name}": value for name, value in tags.items()},
            metrics={f"{_REFIT}/{PARITY}": parity},
            steps={f"{_REFIT}/{name}": values for name, values in fitted.curves.items()},
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


def _tags(origin: Origin, learnt: Learnt, candidate: Candidate) -> dict[str, str]:
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
        "training.estimator": learnt.name,
        "training.best_epoch": str(learnt.fitted.rounds),
        "package.digest": candidate.package.digest,
        **{f"{ADOPTED}.{name}": str(value) for name, value in origin.configuration.get(ADOPTED, {}).items()},
        **machine_tags(learnt.fitted.device),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
