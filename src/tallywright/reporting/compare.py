"""Compares two versions of a model on the same labelled rows: metrics, paired differences, predictions that differ."""

# ruff: noqa: S608 - names cannot be parameters; they are quoted
from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors
from tallywright.data.snapshot import Snapshot, read_split
from tallywright.errors import InputError, StorageError, UsageError
from tallywright.gates.paired import Resampling, paired_gain, statistic
from tallywright.lifecycle.context import package_of
from tallywright.metrics import evaluate
from tallywright.monitoring.performance import PERFORMANCE
from tallywright.packaging.predictor import Predictor
from tallywright.records import ModelRef
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import known_versions
from tallywright.scoring.commit.manifests import manifests
from tallywright.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec, Project

Dates = tuple["date | None", "date | None"]
_KNOWN: Final = "known"


@dataclass(frozen=True, slots=True)
class MetricPair:
    """One metric of both versions. `gain` is the second's over the first's; positive is better for every metric.

    `lower` and `upper` are one-sided bounds of the gain at `gates.confidence`; None where there is no paired bootstrap.
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
    """`day` or `row`: the unit of the paired bootstrap."""
    predictions_differ: float
    """The share of rows whose `prediction` is another."""
    scores_differ: float
    """The share of rows whose score is another, in any bit."""
    largest_difference: float
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
    rows, source = _rows(project, lake, pair, packages, dates)
    classes = {package.postprocess.classes for package in packages}
    if len(classes) > 1 or len({package.meta.task for package in packages}) > 1:
        raise InputError(
            f"versions {pair[0]} and {pair[1]} do not predict the same classes", expected="one task, the same classes"
        )
    rows = _labelled(project.spec, rows, packages[0])
    days = rows.column("score_date")
    first, last = pc.min(days).as_py(), pc.max(days).as_py()
    scored = [_Scored.of(package, project.spec, rows) for package in packages]
    metrics, unit = _metrics(project.spec, rows, packages, scored)
    differences = np.abs(scored[0].scores.astype(np.float64) - scored[1].scores)
    return VersionComparison(
        first=pair[0],
        second=pair[1],
        source=source,
        first_date=first,
        last_date=last,
        days=len(pc.unique(days)),
        rows=rows.num_rows,
        metrics=metrics,
        resampled_by=unit,
        predictions_differ=float(np.mean(scored[0].predictions != scored[1].predictions)),
        scores_differ=float(np.mean((differences > 0).reshape(rows.num_rows, -1).any(axis=1))),
        largest_difference=float(differences.max()),
        cautions=tuple(
            f"version {number} was trained on data through {package.meta.trained_through}: it has seen these rows"
            for number, package in zip(pair, packages, strict=True)
            # Nobody fits on a holdout of its own.
            if package.meta.trained_through >= first and source != _holdout_of(number)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """What a version makes of the rows: its scores [rows] or [rows, classes], and its predictions."""

    scores: NDArray[np.float32]
    predictions: NDArray[Any]

    @classmethod
    def of(cls, package: Package, spec: ModelSpec, rows: pa.Table) -> _Scored:
        predictor = Predictor(package, threshold=spec.scoring.threshold)
        present = [name for name in predictor.input_columns if name in rows.column_names]
        scores, predictions = [], []
        for batch in rows.select(present).to_batches():
            scores.append(predictor.score(package.preprocess.transform(batch)))
            predictions.append(predictor(batch).column("prediction").to_numpy(zero_copy_only=False))
        return cls(np.concatenate(scores), np.concatenate(predictions))


def _refs(project: Project, lake: Lake, pair: tuple[int, int]) -> list[ModelRef]:
    """The two versions, by the lake's own record of them."""
    if pair[0] == pair[1]:
        raise UsageError(f"version {pair[0]} was given twice", expected="two versions")
    spec = project.spec
    known = known_versions(lake, spec, PromotionLog(lake, spec).entries())
    missing = [number for number in pair if number not in known]
    if missing:
        raise UsageError(
            f"{spec.registered_name} has no version {missing[0]}",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}",
            remedy=f"`tally versions {spec.name}` shows them",
        )
    return [
        ModelRef(
            name=spec.registered_name,
            version=number,
            digest=known[number].package_digest,
            trained_through=known[number].trained_through,
        )
        for number in pair
    ]


def _rows(
    project: Project, lake: Lake, pair: tuple[int, int], packages: Sequence[Package], dates: Dates
) -> tuple[pa.Table, str]:
    """The rows with their target, and where they are from."""
    spec = project.spec
    tallies = [one for one in manifests(lake, spec) if _within(one.score_date, dates)]
    source = "scored days"
    if dates == (None, None):
        seen = max(package.meta.trained_through for package in packages)
        mature = _mature_days(lake, spec)
        tallies = [one for one in tallies if one.score_date > seen and one.score_date in mature]
        source = "scored days with mature labels that neither version has seen"
    parts = [_day(lake, spec, manifest) for manifest in tallies]
    if sum(part.num_rows for part in parts):
        return pa.concat_tables(parts, promote_options="default"), source
    if dates != (None, None):
        raise InputError(
            f"no scored day of {spec.name} from {dates[0] or 'the first'} to {dates[1] or 'the last'} has known labels",
            expected="scored days whose labels have arrived",
            remedy=f"tally days {spec.name} lists the scored days; ingest them again once labels are there",
        )
    newer = max(pair)
    text = packages[pair.index(newer)].meta.snapshot_json
    snapshot = Snapshot.from_json(text)
    return read_split(project, lake, snapshot, "holdout"), _holdout_of(newer)


def _holdout_of(version: int) -> str:
    return f"the holdout of version {version}"


def _within(day: date, dates: Dates) -> bool:
    first, last = dates
    return (first is None or day >= first) and (last is None or day <= last)


def _mature_days(lake: Lake, spec: ModelSpec) -> set[date]:
    """The days that were realised with mature labels."""
    table = spec.table(PERFORMANCE.what)
    if lake.find(table) is None:
        return set()
    rows = lake.read(table, where={"mature": True}, columns=["score_date"])
    return set(pc.unique(rows["score_date"]).to_pylist())


def _day(lake: Lake, spec: ModelSpec, manifest: Manifest) -> pa.Table:
    """The labelled rows of a scored day: the input that was scored, with the labels known by now."""
    day, target = manifest.score_date, spec.training.target
    key = ["score_date", *spec.data.key]
    try:
        features = lake.read(manifest.input.table, where={"score_date": day}, version=manifest.input.version)
    except StorageError as error:
        lake.files(manifest.input.table, day=day)  # raises where it is the storage that is away
        raise InputError(
            f"the input of {day} that was scored can no longer be read ({error.found})",
            expected=f"version {manifest.input.version} of {manifest.input.table}",
            remedy="compare on younger days: --from D",
        ) from error
    table = spec.table("labels")
    if lake.find(table) is None:
        return features.slice(0, 0)
    labels = lake.read(table, where={"score_date": day, "label_status": _KNOWN}, columns=[*key, target])
    on = " AND ".join(f"f.{quoted(name)} = l.{quoted(name)}" for name in key)
    order = ", ".join(f"f.{quoted(name)}" for name in key)
    connection = connect()
    try:
        with sql_errors(f"joining the labels of {day}", "ingest the day again"):
            connection.register("features", features.drop_columns([target] if target in features.column_names else []))
            connection.register("labels", labels)
            query = f"SELECT f.*, l.{quoted(target)} FROM features f JOIN labels l ON {on} ORDER BY {order}"
            return connection.sql(query).to_arrow_table()
    finally:
        connection.close()


def _labelled(spec: ModelSpec, rows: pa.Table, package: Package) -> pa.Table:
    """The rows whose label is known; the target as what metrics are computed from: 0 and 1, class numbers, or values.

    Raises:
        InputError: There is none.
    """
    target = rows.column(spec.training.target)
    if spec.training.kind.per_class:
        places = {name: at for at, name in enumerate(package.postprocess.classes)}
        values = [places.get(str(value)) for value in target.to_pylist()]
        numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    else:
        numbers = target.cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
    known = np.isfinite(numbers)
    if not known.any():
        raise InputError("none of the rows to compare on has a label", expected="at least one known label")
    at = rows.column_names.index(spec.training.target)
    return rows.set_column(at, spec.training.target, pa.array(numbers)).filter(pa.array(known))


def _metrics(
    spec: ModelSpec, rows: pa.Table, packages: Sequence[Package], scored: Sequence[_Scored]
) -> tuple[tuple[MetricPair, ...], str]:
    """Every metric of the task, with bounds where the gates' paired bootstrap has the metric."""
    task = packages[0].meta.task
    target = rows.column(spec.training.target).to_numpy()
    first, second = (evaluate(target, one.scores, task=task) for one in scored)
    days = np.unique(rows.column("score_date").cast(pa.int32()).to_numpy(), return_inverse=True)[1]
    how = Resampling(
        replicates=spec.gates.bootstrap,
        confidence=spec.gates.confidence,
        seed=f"{packages[1].digest}:{packages[0].digest}",
        days=days.astype(np.int64),
    )
    pairs = []
    for metric, value in first.items():
        higher = HIGHER_IS_BETTER[metric]
        gain = (second[metric] - value) * (1 if higher else -1)
        bounds = _bounds(metric, target, scored, how, higher=higher)
        pairs.append(MetricPair(metric, value, second[metric], gain, *bounds))
    return tuple(pairs), how.unit


def _bounds(
    metric: str, target: NDArray[np.float64], scored: Sequence[_Scored], how: Resampling, *, higher: bool
) -> tuple[float | None, float | None]:
    if scored[0].scores.ndim > 1:
        return None, None
    try:
        first, second = (statistic(metric, target, one.scores.astype(np.float64)) for one in scored)
    except KeyError:
        return None, None
    found = paired_gain(second, first, len(target), how, higher=higher)
    return tuple(value if np.isfinite(value) else None for value in (found.lower, found.upper))  # type: ignore[return-value]
