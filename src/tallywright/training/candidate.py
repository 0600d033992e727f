"""Packages a fitted network, and scores, evaluates and profiles it with the Predictor of production.

The evaluation and the reference profile stand inside the package but need the Predictor, which needs a package: so a
draft without them is written first, and the package itself from what the draft says.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tallywright.observability import log
from tallywright.packaging.manifest import runtime_requirements
from tallywright.packaging.package import Package, PackageContents, PackageMeta, write_package
from tallywright.packaging.predictor import Predictor
from tallywright.packaging.preprocess import ModelInput
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.comparison import ReferenceDays
from tallywright.profiles.profile import Profile, define
from tallywright.spec.demands import demands_of
from tallywright.tasks import NUMBERED
from tallywright.training.evaluate import BaselineInputs, measure, measure_baselines, measure_slices
from tallywright.training.export import PARITY_ROWS, export_onnx
from tallywright.training.user_code.source import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from pathlib import Path

    from tallywright.data.snapshot import Snapshot
    from tallywright.profiles.profile import ProfileDefinition
    from tallywright.spec import ModelSpec, Project
    from tallywright.training.loop import Fitted, Rows
    from tallywright.training.matrices import Splits
    from tallywright.training.objective import Objective
    from tallywright.training.user_code.source import NetworkSource


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a candidate, for its metadata."""

    project: Project
    snapshot: Snapshot
    run_id: str
    code_version: str
    created_at: datetime
    configuration: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package with its figures, and the scores of the holdout behind them.

    `evaluation` maps `model`, each baseline, `validation` and each slice to its metrics.
    """

    package: Package
    evaluation: dict[str, dict[str, float]]
    holdout_scores: np.ndarray


def make_candidate(origin: Origin, splits: Splits, fitted: Fitted, baselines: BaselineInputs, work: Path) -> Candidate:
    """Writes `work/package`."""
    draft = _contents(origin, splits, fitted)
    folder = work / "draft_package"
    predictor = Predictor(write_package(folder, draft))
    try:
        evaluation, holdout_scores = _evaluate(origin, splits, predictor, baselines)
        final = _completed(origin, draft, splits, predictor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    final = replace(final, meta=draft.meta.model_copy(update={"evaluation": evaluation}))
    return Candidate(write_package(work / "package", final), evaluation, holdout_scores)


def _contents(origin: Origin, splits: Splits, fitted: Fitted) -> PackageContents:
    sample = _inputs(splits.holdout.rows, PARITY_ROWS)
    graph = export_onnx(fitted.module, *_trace_rows(splits.train.rows))
    definition = define(
        {name: sample.numeric[:, i] for i, name in enumerate(splits.preprocess.numeric)},
        splits.preprocess.categories,
        np.zeros(1, dtype=np.float32),
        origin.project.spec.monitoring.cells,
    )
    return PackageContents(
        meta=_meta(origin, fitted.module.objective),
        preprocess=splits.preprocess,
        onnx=graph,
        weights={name: tensor.numpy() for name, tensor in fitted.module.state_dict().items()},
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


def _meta(origin: Origin, objective: Objective) -> PackageMeta:
    spec, classes = origin.project.spec, _named_classes(objective)
    kind, texts = objective.kind, isinstance(next(iter(objective.classes), 0), str)
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
        trained_through=origin.project.spec.schedule.calendar.last_date(origin.snapshot.holdout_to),
        snapshot_json=origin.snapshot.to_json(),
        run_id=origin.run_id,
        code_version=origin.code_version,
        owner=f"{spec.owner.name} <{spec.owner.email}>",
        requirements=runtime_requirements(),
        training_config=dict(origin.configuration),
        created_at=origin.created_at,
    )


def _evaluate(
    origin: Origin, splits: Splits, predictor: Predictor, baselines: BaselineInputs
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    spec, objective = origin.project.spec.training, baselines.objective
    holdout, validation = splits.holdout, splits.validation
    scores = predictor.score(_inputs(holdout.rows))
    measured = partial(measure, objective, threshold=predictor.threshold)
    found = {"model": measured(holdout.rows.target, scores)}
    if spec.baselines:
        found |= measure_baselines(measured, baselines, holdout.rows)
    found["validation"] = measured(validation.rows.target, predictor.score(_inputs(validation.rows)))
    found |= measure_slices(measured, holdout.table, holdout.rows.target, scores, spec.slices)
    return found, scores


def _completed(origin: Origin, draft: PackageContents, splits: Splits, predictor: Predictor) -> PackageContents:
    window = splits.window
    raw = predictor.score(_inputs(window))
    scores = raw if raw.ndim == 1 else raw.max(axis=1)
    definition = define(
        {name: window.numeric[:, i] for i, name in enumerate(splits.preprocess.numeric)},
        splits.preprocess.categories,
        scores,
        origin.project.spec.monitoring.cells,
    )
    days = _profiles_of_days(definition, splits, scores)
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


def _profiles_of_days(definition: ProfileDefinition, splits: Splits, scores: np.ndarray) -> dict[date, Profile]:
    """The profiles of the window's days; their sum is the training reference."""
    window = splits.window
    dates = pa.concat_arrays(
        [part.table.column("score_date").combine_chunks() for part in (splits.train, splits.validation)]
    )
    codes = dates.dictionary_encode()
    of_day = codes.indices.to_numpy()
    found = {}
    for code, day in enumerate(codes.dictionary.to_pylist()):
        rows = np.flatnonzero(of_day == code)
        found[day] = profile_rows(definition, window.numeric[rows], window.categorical[rows], scores[rows])
    return found


def _inputs(rows: Rows, most: int | None = None) -> ModelInput:
    return ModelInput(rows.numeric[:most], rows.categorical[:most])


def _trace_rows(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Rows for the parity check: the first ones, and then rows with nulls, so that parity covers nulls too."""
    nulls = np.flatnonzero(np.isnan(rows.numeric).any(axis=1))[: PARITY_ROWS // 2]
    chosen = np.concatenate([np.arange(min(len(rows.target), PARITY_ROWS - len(nulls))), nulls])
    return rows.numeric[chosen], rows.categorical[chosen]


def feature_texts(project: Project, source: NetworkSource) -> dict[str, str]:
    """The texts that define the features, by file name: SQL, and the network as it was read.

    Raises:
        SpecError: One of them is no text.
    """
    data = project.spec.data
    files = ((name, project.folder / name) for name in (data.contract, data.features, data.labels))
    texts = {name: read_text(path) for name, path in files if path.is_file()}
    return texts | {project.spec.training.network.module: source.text}
