"""The scores of candidate and champion on the same labelled rows, and the figures that come of them.

Both models are scored through their packages' `Predictor`, as production would score them. They are compared only on
days that neither was fitted on: where the champion has learnt from some of the holdout, those days would favour it.
There may be two samples: the holdout, which is about the recipe that was judged, and later days on which its refit has
scored in shadow, which are about that. Each has figures of its own, and what they say together is weighted by days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tallywright.gates.evidence.daily import DailyMetric, daily_metric
from tallywright.gates.evidence.interval import Estimate, combined, jackknife
from tallywright.labels import encoded
from tallywright.metrics import evaluate
from tallywright.packaging.predictor import Predictor
from tallywright.score_period import days_since_1970
from tallywright.tasks import metric_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores of the rows, [rows] or [rows, classes of both models], and its decision threshold."""

    values: Floats
    threshold: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of a model on some rows; without an `estimate` where the days are too few, or do not define it."""

    value: float
    estimate: Estimate | None
    days: int


@dataclass(frozen=True, slots=True)
class Gain:
    """What a candidate gains over the champion in one metric; positive is better for every metric.

    Attributes:
        candidate: Its metric.
        champion: The champion's, on the same rows.
        estimate: Of the gain.
        rows: How many rows it is from.
    """

    candidate: float
    champion: float
    estimate: Estimate
    rows: int

    def told(self, level: float) -> str:
        """The gain in words, with its bounds at this level."""
        one = self.estimate
        widened = f", variance times {one.inflation:.2f} as days resemble their neighbours" if one.inflation > 1 else ""
        return (
            f"candidate {self.candidate:.5f}, champion {self.champion:.5f}, gain {one.value:+.5f} "
            f"[{one.lower(level):+.5f}, {one.upper(level):+.5f}] at {100 * (1 - level):.4g} % on each side, "
            f"from {one.days} days{widened}"
        )


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Labelled rows of some days with the scores of the candidate and of the champion, where there is one.

    Attributes:
        spec: Whose task and slices count.
        target: Labels as numbers, [rows].
        dates: Score dates as days since 1970, [rows].
        candidate: The candidate's scores.
        champion: The champion's.
        unseen: The rows of days that neither model was fitted on.
        slices: The rows' columns of `training.slices`.
        classes: The names of the classes of both, in the order of the scores' columns; empty where a row has one score.
        own_classes: Those of the candidate.
    """

    spec: ModelSpec
    target: Floats
    dates: npt.NDArray[np.int32]
    candidate: Scores
    champion: Scores | None
    unseen: Mask
    slices: pa.Table
    classes: tuple[str, ...] = ()
    own_classes: tuple[str, ...] = ()

    @property
    def pair_days(self) -> int:
        """The number of days on which both models can be compared."""
        return len(np.unique(self.dates[self.unseen]))

    @property
    def same_scores(self) -> bool:
        """True where both models give every row the same score."""
        return self.champion is not None and np.array_equal(self.candidate.values, self.champion.values)

    def figures(self, rows: Mask | slice = slice(None), *, by_class: bool = False) -> dict[str, float]:
        """The candidate's metrics, of all rows or of some; those of single classes too, where they are asked for."""
        model, task = self.candidate, self.spec.training.task
        return evaluate(
            self.target[rows],
            model.values[rows],
            task=task,
            threshold=model.threshold,
            classes=self.classes if by_class else (),
            costs=self.spec.gates.costs,
        )

    def of_class(self, name: str) -> Mask:
        """The rows whose label is this class."""
        return np.asarray(self.target == self.classes.index(name))

    def estimate(self, metric: str) -> Estimate | None:
        """What the days say about the candidate's metric; None where they are too few, or do not define it."""
        by_day = self._by_day(metric, self.candidate, np.ones(len(self.target), dtype=np.bool_))
        return None if by_day is None else jackknife(by_day)

    def gain(self, metric: str, rows: Mask | None = None) -> Gain | None:
        """The candidate's gain on days that neither was fitted on; None where these rows do not show one."""
        if self.champion is None:
            return None
        chosen = self.unseen if rows is None else self.unseen & rows
        candidate, champion = (self._by_day(metric, model, chosen) for model in (self.candidate, self.champion))
        if candidate is None or champion is None:
            return None
        estimate = jackknife(candidate.gain_over(champion, metric_of(metric)))
        if estimate is None:
            return None
        return Gain(candidate.value, champion.value, estimate, int(chosen.sum()))

    def _by_day(self, metric: str, model: Scores, rows: Mask) -> DailyMetric | None:
        days = np.unique(self.dates[rows], return_inverse=True)[1].astype(np.int64)
        task = self.spec.training.task
        try:
            return daily_metric(
                metric,
                self.target[rows],
                model.values[rows],
                days,
                task=task,
                threshold=model.threshold,
                classes=self.classes,
                costs=self.spec.gates.costs,
            )
        except KeyError:
            return None


def figure_of(samples: Sequence[ScoredRows], figures: Sequence[Mapping[str, float]], metric: str) -> Measured | None:
    """The candidate's metric on all samples, whose `figures` are known; None where the task has no such metric."""
    values = [known.get(metric) for known in figures]
    estimates = [sample.estimate(metric) for sample in samples]
    days = [len(np.unique(sample.dates)) for sample in samples]
    known = [(value, count) for value, count in zip(values, days, strict=True) if value is not None]
    if not known:
        return None
    found = combined([one for one in estimates if one is not None])
    weighted = sum(value * count for value, count in known) / sum(count for _, count in known)
    return Measured(weighted if found is None else found.value, found, sum(days))


def gain_of(samples: Sequence[ScoredRows], metric: str, rows: Sequence[Mask | None] | None = None) -> Gain | None:
    """The candidate's gain on all samples, or on some rows of each; None where none of them shows one."""
    chosen = rows or [None] * len(samples)
    gains = [
        gain for sample, mask in zip(samples, chosen, strict=True) if (gain := sample.gain(metric, mask)) is not None
    ]
    estimate = combined([gain.estimate for gain in gains])
    if estimate is None:
        return None
    shares = [gain.estimate.days / estimate.days for gain in gains]
    candidate, champion = (
        sum(share * getattr(gain, name) for share, gain in zip(shares, gains, strict=True))
        for name in ("candidate", "champion")
    )
    return Gain(candidate, champion, estimate, sum(gain.rows for gain in gains))


def score_rows(spec: ModelSpec, candidate: Package, champion: Package | None, rows: pa.Table) -> ScoredRows:
    """Scores labelled rows with both models.

    Args:
        spec: Whose target, task and threshold of before count.
        candidate: The package under test.
        champion: The package in production, where there is one.
        rows: `score_date`, the feature columns and the target.

    Raises:
        InputError: A column that a model reads is missing or mistyped.
        PackageError: A graph raises an error on these rows.
    """
    models = [candidate] if champion is None else [candidate, champion]
    classes = tuple(dict.fromkeys(name for model in models for name in model.meaning.classes))
    dates = rows["score_date"].cast(pa.int32()).to_numpy()
    scored = [_scores(model, rows, spec, classes) for model in models]
    return ScoredRows(
        spec=spec,
        target=encoded(rows[spec.training.target], spec.training.kind, classes, candidate.meaning.positive),
        dates=dates,
        candidate=scored[0],
        champion=scored[1] if champion is not None else None,
        slices=rows.select(spec.training.slices),
        classes=classes if spec.training.kind.per_class else (),
        own_classes=candidate.meaning.classes if spec.training.kind.per_class else (),
        unseen=dates > days_since_1970(max(model.fitted_through for model in models)),
    )


def _scores(package: Package, rows: pa.Table, spec: ModelSpec, classes: tuple[str, ...]) -> Scores:
    """The package's scores over these classes, with the threshold of production."""
    predictor = Predictor(package, threshold=spec.scoring.threshold)
    return Scores(over_classes(package, predicted_scores(predictor, rows), classes), predictor.threshold)


def predicted_scores(predictor: Predictor, rows: pa.Table) -> npt.NDArray[np.float32]:
    """The package's own scores of all rows of a table: [rows], or [rows, classes].

    Raises:
        InputError: A column is missing or mistyped.
        PackageError: The graph raises an error.
    """
    present = [name for name in predictor.input_columns if name in rows.column_names]
    inputs = [predictor.package.preprocess.transform(batch) for batch in rows.select(present).to_batches()]
    return np.concatenate([predictor.score(one) for one in inputs])


def over_classes(package: Package, scores: npt.NDArray[np.float32], classes: tuple[str, ...]) -> Floats:
    """A package's scores as float64; of a multiclass model a column for each of these classes, 0 for foreign ones."""
    if scores.ndim == 1:
        return scores.astype(np.float64)
    spread = np.zeros((len(scores), len(classes)))
    spread[:, [classes.index(name) for name in package.meaning.classes]] = scores
    return spread
