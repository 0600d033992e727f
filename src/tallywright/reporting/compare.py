"""Compares two versions of a model on the same labelled rows: metrics, paired differences, predictions that differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.errors import InputError, UsageError
from tallywright.gates.evidence.daily import daily_metric
from tallywright.gates.evidence.interval import MIN_DAYS, jackknife
from tallywright.gates.quality.scored_rows import over_classes, predicted_scores
from tallywright.labels import encoded
from tallywright.lifecycle.context import package_of
from tallywright.metrics import evaluate
from tallywright.packaging.predictor import Predictor, outputs_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import known_versions, no_such_version
from tallywright.reporting.comparable_rows import comparable_rows
from tallywright.tasks import TASKS, metric_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.gates.evidence.daily import DailyMetric
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.reporting.comparable_rows import Dates
    from tallywright.spec import ModelSpec, Project
    from tallywright.tasks import Metric


@dataclass(frozen=True, slots=True)
class MetricPair:
    """One metric of both versions. `gain` is the second's over the first's; positive is better for every metric.

    `lower` and `upper` are one-sided bounds of the gain at `gates.confidence`, from its days; None where these are too
    few, or do not define the metric.
    """

    metric: str
    first: float
    second: float
    gain: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions on the same rows. `cautions` say which version has seen some of them before."""

    first: int
    second: int
    source: str
    first_date: date
    last_date: date
    days: int
    rows: int
    metrics: tuple[MetricPair, ...]
    resampled_by: str
    """The unit of evidence, which is the `day`."""
    predictions_differ: float
    """The share of `rows`, from 0 to 1, whose `prediction` is another."""
    scores_differ: float
    """The share of `rows`, from 0 to 1, whose score is another, in any bit."""
    largest_difference: float
    """Of two scores of a row, in the scores' unit."""
    cautions: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The comparison as nested dictionaries."""
        return asdict(self)


def compare(project: Project, lake: Lake, pair: tuple[int, int], dates: Dates = (None, None)) -> VersionComparison:
    """Compares two versions on labelled rows, scored here by both packages as production scores them.

    Args:
        project: Whose versions.
        lake: Where the tables are.
        pair: The two versions; gains are the second's over the first's.
        dates: First and last scored date, both inclusive; None is open. Without either: the scored days with mature
            labels that neither version has seen, and where there are none, the holdout of the newer version.

    Raises:
        UsageError: A version that is not known, or twice the same one.
        InputError: No labelled rows to compare on, or rows that a version cannot score.
        PackageError: A package that is not what was registered.
    """
    packages = [package_of(project, ref) for ref in _refs(project, lake, pair)]
    _require_comparable(pair, packages)
    data = lake.in_production(project.environment)
    rows, source = comparable_rows(project, data, dict(zip(pair, packages, strict=True)), dates)
    days = sorted(pc.unique(rows.column("score_date")).to_pylist())
    first, last = days[0], days[-1]
    classes = tuple(dict.fromkeys(name for package in packages for name in package.meaning.classes))
    scored = [_Scored.of(package, project.spec, rows, classes) for package in packages]
    metrics = _metrics(project.spec, rows, packages, scored)
    differences = np.abs(scored[0].scores - scored[1].scores)
    return VersionComparison(
        first=pair[0],
        second=pair[1],
        source=source,
        first_date=first,
        last_date=last,
        days=len(days),
        rows=rows.num_rows,
        metrics=metrics,
        resampled_by="day",
        predictions_differ=float(np.mean(scored[0].predictions != scored[1].predictions)),
        scores_differ=float(np.mean((differences > 0).reshape(rows.num_rows, -1).any(axis=1))),
        largest_difference=float(differences.max()),
        cautions=_few_days(len(days))
        + tuple(
            f"version {number} was fitted on data through {package.fitted_through}: it has seen these rows"
            for number, package in zip(pair, packages, strict=True)
            # Not on its own holdout, unless it is a refit.
            if package.fitted_through >= first
        ),
    )


def _require_comparable(pair: tuple[int, int], packages: Sequence[Package]) -> None:
    """Refuses versions whose predictions mean different things; a class that came or went is no such difference."""
    first, second = (package.meaning for package in packages)
    difference = first.model_copy(update={"classes": second.classes}).difference(second)
    if difference:
        raise InputError(
            f"versions {pair[0]} and {pair[1]} predict different things: {difference}",
            expected="the same task, target and unit",
        )


@dataclass(frozen=True, slots=True)
class _Scored:
    """What a version makes of the rows: its scores [rows], or [rows, classes of both], predictions and threshold."""

    scores: NDArray[np.float64]
    predictions: NDArray[Any]
    threshold: float

    @classmethod
    def of(cls, package: Package, spec: ModelSpec, rows: pa.Table, classes: tuple[str, ...]) -> _Scored:
        predictor = Predictor(package, threshold=spec.scoring.threshold)
        raw = predicted_scores(predictor, rows)
        outputs = outputs_of(package.postprocess, raw, predictor.threshold)
        predictions = outputs.column("prediction").to_numpy(zero_copy_only=False)
        return cls(over_classes(package, raw, classes), predictions, predictor.threshold)


def _refs(project: Project, lake: Lake, pair: tuple[int, int]) -> list[ModelRef]:
    """The two versions, by the lake's own record of them."""
    if pair[0] == pair[1]:
        raise UsageError(f"version {pair[0]} was given twice", expected="two versions")
    spec = project.spec
    known = known_versions(lake, spec, PromotionLog(lake, spec).entries())
    missing = [number for number in pair if number not in known]
    if missing:
        raise no_such_version(f"{spec.registered_name} has no version {missing[0]}", known, spec)
    return [known[number].as_ref(spec) for number in pair]


def _few_days(days: int) -> tuple[str, ...]:
    if days >= MIN_DAYS:
        return ()
    return (f"a gain has no bounds: {days} days are too few to see how days differ, {MIN_DAYS} would do",)


def _metrics(
    spec: ModelSpec, rows: pa.Table, packages: Sequence[Package], scored: Sequence[_Scored]
) -> tuple[MetricPair, ...]:
    """Every metric of the task, with bounds of the gain from its days.

    Raises:
        InputError: Labels or scores that the metrics do not take.
    """
    meaning, task, level = packages[0].meaning, packages[0].meta.task, 1 - spec.gates.confidence
    costs = spec.gates.costs if TASKS[task].thresholds else None
    classes = tuple(dict.fromkeys(name for package in packages for name in package.meaning.classes))
    target = encoded(rows.column(spec.training.target), TASKS[task], classes, meaning.positive)
    try:
        first, second = (
            evaluate(target, one.scores, task=task, threshold=one.threshold, classes=classes, costs=costs)
            for one in scored
        )
    except ValueError as error:
        raise InputError(
            f"the versions cannot be measured: {error}", expected="labels of the versions' task"
        ) from error
    days = np.unique(rows.column("score_date").cast(pa.int32()).to_numpy(), return_inverse=True)[1].astype(np.int64)
    pairs = []
    for metric, value in first.items():
        kind = metric_of(metric)
        by_day = (
            daily_metric(
                metric, target, one.scores, days, task=task, threshold=one.threshold, classes=classes, costs=costs
            )
            for one in scored
        )
        bounds = _bounds(kind, level, *by_day)
        pairs.append(MetricPair(metric, value, second[metric], _gain(kind, value, second[metric]), *bounds))
    return tuple(pairs)


def _gain(metric: Metric, first: float, second: float) -> float:
    return float(metric.goodness(second) - metric.goodness(first))


def _bounds(metric: Metric, level: float, first: DailyMetric, second: DailyMetric) -> tuple[float | None, float | None]:
    """The one-sided bounds of the second's gain; None where its days give none."""
    gain = jackknife(second.gain_over(first, metric))
    return (None, None) if gain is None else (gain.lower(level), gain.upper(level))
