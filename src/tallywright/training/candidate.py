"""Packages a fitted model, and scores, evaluates and profiles it with the Predictor of production.

The evaluation and the reference profile stand inside the package but need the Predictor, which needs a package: so a
draft without them is written first, and the package itself from what the draft says.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.observability import log
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.meta import ESTIMATOR, ROUNDS, THRESHOLD
from tallywright.packaging.package import Package, PackageContents, PackageMeta, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import ModelInput
from tallywright.profiles.accumulate import profile_rows, with_predicted_class
from tallywright.profiles.comparison import ReferenceDays
from tallywright.profiles.profile import PREDICTED_CLASS, Profile, define
from tallywright.spec.demands import demands_of
from tallywright.tasks import NUMBERED
from tallywright.training.decision_threshold import decision_threshold
from tallywright.training.evaluate import measure, measure_slices
from tallywright.training.parity import require_parity
from tallywright.training.user_code.source import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date, datetime
    from pathlib import Path

    from tallywright.data.snapshot import Snapshot
    from tallywright.profiles.profile import ProfileDefinition
    from tallywright.spec import ModelSpec, Project
    from tallywright.training.estimators.protocol import Estimator, Fitted
    from tallywright.training.matrices import Rows, Splits
    from tallywright.training.objective import Objective

PARITY_ROWS: Final = 512
"""Rows of the sample in the package."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a package, for its metadata.

    `judged` is the package whose recipe a refit repeats; `fitted_through` the last date whose rows a model from
    elsewhere has seen.
    """

    project: Project
    snapshot: Snapshot
    run_id: str
    code_version: str
    created_at: datetime
    configuration: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    judged: Package | None = None
    fitted_through: date | None = None


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a fit has left: the estimator's name, its rows, the objective that encoded them, the fitted model."""

    name: str
    splits: Splits
    objective: Objective
    fitted: Fitted


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package with its figures, and the scores of the holdout behind them.

    `evaluation` maps `model`, each baseline, `validation` and each slice to its metrics. `parity` is the largest gap
    between the scores of the package and the library's own.
    """

    package: Package
    evaluation: dict[str, dict[str, float]]
    holdout_scores: np.ndarray
    parity: float


def make_candidate(origin: Origin, learnt: Learnt, rivals: Mapping[str, np.ndarray], work: Path) -> Candidate:
    """Writes `work/package`: the judged package of a recipe.

    Args:
        origin: Where it comes from.
        learnt: The fitted model.
        rivals: The scores of the holdout of other estimators and of baselines, by their names.
        work: The run folder.

    Raises:
        PackageError: The graph's scores differ from the library's own.
    """
    splits = learnt.splits
    with _drafted(origin, learnt, work) as (draft, predictor):
        scores, parity = _scores(learnt.fitted, predictor, splits.holdout.rows)
        validation = None if splits.validation is None else predictor.score(splits.validation.rows.inputs())
        meta = _with_threshold(draft.meta, origin, learnt, validation)
        evaluation = _evaluate(origin, learnt, {"model": scores, **rivals}, validation, meta.threshold)
        window = splits.window
        final = _completed(origin, draft, splits, predictor, (window, predictor.score(window.inputs())))
    final = replace(final, meta=meta.model_copy(update={"evaluation": evaluation}))
    return Candidate(write_package(work / "package", final), evaluation, scores, parity)


def make_refit(origin: Origin, learnt: Learnt, judged: Package, work: Path) -> tuple[Package, float]:
    """Writes `work/package`: a refit, with the evaluation of the judged package, which is about the recipe.

    No row is left to evaluate the refit itself on. The second value is the gap of parity over all rows.

    Raises:
        PackageError: The graph's scores differ from the library's own.
    """
    with _drafted(origin, learnt, work) as (draft, predictor):
        rows = learnt.splits.train.rows  # all that a refit has
        raw, parity = _scores(learnt.fitted, predictor, rows)
        final = _completed(origin, draft, learnt.splits, predictor, (rows, raw))
    return write_package(work / "package", replace(final, meta=_as_judged(draft.meta, judged.meta))), parity


@contextmanager
def _drafted(origin: Origin, learnt: Learnt, work: Path) -> Iterator[tuple[PackageContents, Predictor]]:
    """A package without evaluation and reference, and its Predictor; it is gone at the end."""
    draft, folder = _contents(origin, learnt), work / "draft_package"
    predictor = Predictor(write_package(folder, draft))
    try:
        yield draft, predictor
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _contents(origin: Origin, learnt: Learnt) -> PackageContents:
    splits, fitted = learnt.splits, learnt.fitted
    sample = splits.holdout.rows.inputs(PARITY_ROWS)
    definition = define(
        {name: sample.numeric[:, i] for i, name in enumerate(splits.preprocess.numeric)},
        splits.preprocess.categories,
        np.zeros(1, dtype=np.float32),
        origin.project.spec.monitoring.cells,
    )
    return PackageContents(
        meta=_meta(origin, learnt),
        preprocess=splits.preprocess,
        onnx=fitted.graph,
        weights=fitted.weights,
        definition=definition,
        reference=Profile.empty(definition),
        parity=(sample, np.zeros(sample.rows, dtype=np.float32)),
        features=origin.texts,
        types={name: splits.train.table.schema.field(name).type for name in splits.preprocess.columns},
        demands=demands_of(origin.project),
    )


def _named_classes(objective: Objective) -> tuple[str, ...]:
    """The classes that the package must name; those of a binary model whose labels are 0 and 1 are understood."""
    named = tuple(str(value) for value in objective.classes)
    return () if objective.kind.thresholds and named == NUMBERED else named


def _meta(origin: Origin, learnt: Learnt) -> PackageMeta:
    spec, objective, snapshot = origin.project.spec, learnt.objective, origin.snapshot
    classes, last_date = _named_classes(objective), spec.schedule.calendar.last_date
    kind, texts = objective.kind, isinstance(next(iter(objective.classes), 0), str)
    fitted_through = last_date(snapshot.validation_to if origin.judged is None else snapshot.holdout_to)
    return PackageMeta(
        model=spec.name,
        task=spec.training.task,
        target=spec.training.target,
        key=spec.data.key,
        classes=classes,
        class_type="string" if texts else "int32",
        positive=classes[-1] if kind.thresholds and classes else "",
        unit="" if kind.classifies else spec.training.unit,
        threshold=spec.scoring.threshold if kind.thresholds else None,
        trained_through=last_date(snapshot.holdout_to),
        fitted_through=fitted_through if origin.fitted_through is None else origin.fitted_through,
        judged="" if origin.judged is None else origin.judged.digest,
        snapshot_json=snapshot.to_json(),
        run_id=origin.run_id,
        code_version=origin.code_version,
        owner=f"{spec.owner.name} <{spec.owner.email}>",
        requirements=runtime_requirements(),
        training_config={
            **origin.configuration,
            ESTIMATOR: learnt.name,
            ROUNDS: learnt.fitted.rounds,
            "objective": objective.recorded,
        },
        created_at=origin.created_at,
    )


def _scores(fitted: Fitted, predictor: Predictor, rows: Rows) -> tuple[np.ndarray, float]:
    """The package's scores of some rows, and the gap between them and the library's own."""
    scores = predictor.score(rows.inputs())
    return scores, require_parity(np.asarray(fitted.predict(rows)), scores, fitted.tolerance)


def _with_threshold(meta: PackageMeta, origin: Origin, learnt: Learnt, scores: np.ndarray | None) -> PackageMeta:
    """The metadata with the decision threshold, and how it was chosen where costs have chosen it by validation."""
    validation = learnt.splits.validation
    if meta.threshold is None or validation is None or scores is None:
        return meta
    found = decision_threshold(origin.project.spec, learnt.objective.numbered(validation.rows.target), scores)
    if found.expected_cost is not None:
        log.info("decision threshold %g: %s, %.4g a row", found.value, found.source, found.expected_cost)
    configured = {**meta.training_config, **found.recorded}
    return meta.model_copy(update={"threshold": found.value, "training_config": configured})


def _as_judged(meta: PackageMeta, judged: PackageMeta) -> PackageMeta:
    """The metadata of a refit, with what only the judged package could find: its figures, its decision threshold."""
    chosen = {THRESHOLD: judged.training_config[THRESHOLD]} if THRESHOLD in judged.training_config else {}
    return meta.model_copy(
        update={
            "evaluation": judged.evaluation,
            "threshold": judged.threshold,
            "training_config": {**meta.training_config, **chosen},
        }
    )


def _evaluate(
    origin: Origin,
    learnt: Learnt,
    scores: Mapping[str, np.ndarray],
    validation: np.ndarray | None,
    threshold: float | None,
) -> dict[str, dict[str, float]]:
    """The figures of a package.

    `scores` are those of the holdout, of the model and of whatever stands beside it; `validation` are the model's
    scores of the rows of validation.
    """
    splits, target = learnt.splits, learnt.splits.holdout.rows.target
    costs = origin.project.spec.gates.costs
    measured = partial(measure, learnt.objective, threshold=threshold or 0.0, costs=costs)
    found = {name: measured(target, values) for name, values in scores.items()}
    if splits.validation is not None and validation is not None:
        found["validation"] = measured(splits.validation.rows.target, validation)
    slices = origin.project.spec.training.slices
    # A class in a slice is too small a part of the rows to have a name, and a figure, of its own.
    of_slice = partial(measured, by_class=False)
    return found | measure_slices(of_slice, splits.holdout.table, target, scores["model"], slices)


def _completed(
    origin: Origin, draft: PackageContents, splits: Splits, predictor: Predictor, scored: tuple[Rows, np.ndarray]
) -> PackageContents:
    """The contents with definition, reference and parity; `scored` are the window's rows and their raw scores."""
    window, raw = scored
    scores = raw if raw.ndim == 1 else raw.max(axis=1)
    classes = {PREDICTED_CLASS: draft.meta.classes} if raw.ndim > 1 else {}
    definition = define(
        {name: window.numeric[:, i] for i, name in enumerate(splits.preprocess.numeric)},
        splits.preprocess.categories | classes,
        scores,
        origin.project.spec.monitoring.cells,
    )
    counted = ModelInput(window.numeric, with_predicted_class(definition, window.categorical, raw))
    days = _profiles_of_days(definition, splits, counted, scores)
    _warn_of_few_rows(origin.project.spec, max(profile.rows for profile in days.values()))
    sample = draft.parity[0]
    return replace(
        draft,
        definition=definition,
        reference=reduce(add, days.values()),
        reference_days=ReferenceDays.learn(days, min_rows=origin.project.spec.monitoring.min_rows),
        parity=(sample, predictor.score(sample)),
    )


def _warn_of_few_rows(spec: ModelSpec, most: int) -> None:
    """Warns when no day like those of the training window can be judged by monitoring."""
    limits = spec.monitoring
    for name, least in (("min_rows", limits.min_rows), ("min_labels", limits.min_labels)):
        if most < least and (name == "min_rows" or limits.performance_floor):
            log.warning(
                "days like those of the training window will not be judged: the largest has %d rows, and monitoring.%s "
                "is %d; lower it in model.yaml, it holds for this model too",
                most,
                name,
                least,
            )


def _profiles_of_days(
    definition: ProfileDefinition, splits: Splits, counted: ModelInput, scores: np.ndarray
) -> dict[date, Profile]:
    """The profiles of the window's days; their sum is the training reference."""
    dates = pa.concat_arrays([part.table.column("score_date").combine_chunks() for part in splits.fitted])
    codes = dates.dictionary_encode()
    of_day = codes.indices.to_numpy()
    found = {}
    for code, day in enumerate(codes.dictionary.to_pylist()):
        rows = np.flatnonzero(of_day == code)
        found[day] = profile_rows(definition, counted.numeric[rows], counted.categorical[rows], scores[rows])
    return found


def feature_texts(project: Project, estimator: Estimator) -> dict[str, str]:
    """The texts that define the features, by file name: SQL, and what the estimator has read.

    Raises:
        SpecError: One of them is no text.
    """
    data = project.spec.data
    files = ((name, project.folder / name) for name in (data.contract, data.features, data.labels))
    texts = {name: read_text(path) for name, path in files if path.is_file()}
    return texts | dict(estimator.texts)
