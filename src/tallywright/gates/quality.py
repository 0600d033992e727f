"""The quality gate: absolute metric bounds, and a paired comparison with the champion on the same held-out rows.

Both models are scored through their packages' `Predictor`, as production would score them. A promotion needs
superiority on the primary metric (lower confidence bound above `gates.min_gain`) and non-inferiority on the guard
metrics. What cannot be computed is missing evidence, and missing evidence fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.errors import InputError
from tallywright.gates.paired import Array, Gain, Resampling, paired_gain, statistic
from tallywright.labels import encoded
from tallywright.metrics import evaluate
from tallywright.packaging.predictor import Predictor
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, Check, GateReport, Verdict
from tallywright.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project
    from tallywright.spec.sections import MetricBound

GATE: Final = "quality"

MIN_SLICE_ROWS: Final = 200
"""A smaller slice is not judged: its interval would be too wide to mean anything."""
GUARD_MARGIN: Final = 0.01
"""A guard metric counts as not worse when it is worse by less than this share of the champion's."""


@dataclass(frozen=True, slots=True)
class _Scores:
    """A model's scores of the holdout, over the classes of both models; and its decision threshold."""

    values: Array
    threshold: float


@dataclass(frozen=True, slots=True)
class _PairedScores:
    """The targets of the holdout as numbers, with both models' scores."""

    spec: ModelSpec
    target: Array
    candidate: _Scores
    champion: _Scores | None
    resampling: Resampling

    def figures(self, rows: npt.NDArray[np.bool_] | slice = slice(None)) -> dict[str, float]:
        """The candidate's metrics, of all rows or of some."""
        model = self.candidate
        task = self.spec.training.task
        return evaluate(self.target[rows], model.values[rows], task=task, threshold=model.threshold)

    def gain(self, metric: str, rows: npt.NDArray[np.bool_] | None = None) -> Gain | None:
        """The paired gain, of all rows or of some; None when it cannot be computed."""
        chosen = np.ones(len(self.target), dtype=np.bool_) if rows is None else rows
        if self.champion is None:
            return None
        target, how = self.target[chosen], self.resampling.of_rows(chosen)
        try:
            models = [
                statistic(metric, target, model.values[chosen], task=self.spec.training.task, threshold=model.threshold)
                for model in (self.candidate, self.champion)
            ]
        except KeyError:
            return None
        gain = paired_gain(models[0], models[1], len(target), how, higher=HIGHER_IS_BETTER[metric])
        return gain if all(map(math.isfinite, (gain.gain, gain.lower, gain.upper))) else None


def quality_gate(project: Project, *, candidate: Package, champion: Package | None, holdout: pa.Table) -> GateReport:
    """Evaluates a candidate on held-out rows.

    Args:
        project: Whose floors and bounds count.
        candidate: The package under test.
        champion: The package in production; None for the first model, which needs the absolute checks alone.
        holdout: Feature columns and the target, every label known; `score_date`, where there, lets whole days be
            resampled.

    Returns:
        A report whose subject is the candidate's digest. The same packages and rows give the same report.
    """
    spec = project.spec
    checks = [*_judged_by_checks(spec, champion), *_model_checks(spec, candidate, champion)]
    checks += _holdout_checks(spec, holdout, champion)
    if all(check.verdict is not Verdict.FAIL for check in checks):
        checks += _judged(spec, candidate, champion, holdout)
    return GateReport(gate=GATE, model=spec.name, subject=candidate.digest, checks=tuple(checks))


def _judged(spec: ModelSpec, candidate: Package, champion: Package | None, holdout: pa.Table) -> list[Check]:
    """The checks that need scores; a model that cannot score these rows fails the check `metrics`."""
    try:
        paired = _paired_scores(spec, candidate, champion, holdout)
        figures = paired.figures()
    except (InputError, ValueError) as error:
        bound = "both models score every row, labels and scores in range"
        return [Check(name="metrics", verdict=Verdict.FAIL, bound=bound, evidence=str(error)[:500])]
    against = _against_champion(paired) if champion is not None else [_no_champion_check()]
    return [*_absolute(spec, figures), *against, *_slices(paired, holdout)]


def _judged_by_checks(spec: ModelSpec, champion: Package | None) -> list[Check]:
    """Records which champion and which settings the evidence is about; a promotion requires the same ones."""
    against = champion.digest if champion is not None else NO_CHAMPION
    settings = spec.gates.identity().current
    return [
        Check(name=JUDGED_AGAINST, verdict=Verdict.PASS, observed=against, bound="the champion when it is promoted"),
        Check(name=JUDGED_BY, verdict=Verdict.PASS, observed=settings, bound="the section gates by then"),
    ]


def _model_checks(spec: ModelSpec, candidate: Package, champion: Package | None) -> list[Check]:
    """Checks that the candidate is of the spec's task, and that its outputs mean what the champion's mean."""
    task = spec.training.task
    supported = candidate.meaning.task == task
    checks = [Check.of("task_supported", supported, candidate.meaning.task, f"{task}, the task of the spec")]
    if champion is None:
        return checks
    other = candidate.meaning.difference(champion.meaning)
    # A class that came or went is a matter of the data; the models are compared over the classes of both.
    classes_alone = not candidate.meaning.model_copy(update={"classes": champion.meaning.classes}).difference(
        champion.meaning
    )
    verdict = Verdict.PASS if not other else Verdict.WARN if classes_alone else Verdict.FAIL
    bound = "the champion's task, target, classes and unit"
    return [*checks, Check(name="means_what_the_champion_means", verdict=verdict, bound=bound, evidence=other)]


def _holdout_checks(spec: ModelSpec, holdout: pa.Table, champion: Package | None) -> list[Check]:
    """Checks that the holdout is large enough and labelled, and that the champion has not seen it."""
    least, target = spec.gates.min_holdout_rows, spec.training.target
    unlabelled = holdout[target].null_count if target in holdout.column_names else holdout.num_rows
    checks = [
        Check.of("holdout_rows", holdout.num_rows >= least, float(holdout.num_rows), f">= {least}"),
        Check.of("holdout_labels", unlabelled == 0, float(unlabelled), "0 rows without a label"),
    ]
    if champion is not None and "score_date" in holdout.column_names and holdout.num_rows:
        first = pc.min(holdout["score_date"]).as_py()
        seen = champion.meta.trained_through >= first
        checks.append(
            Check(
                name="champion_has_not_seen_the_holdout",
                verdict=Verdict.WARN if seen else Verdict.PASS,
                observed=f"trained through {champion.meta.trained_through}",
                bound=f"before {first}",
                evidence="the comparison favours the champion" if seen else "",
            )
        )
    return checks


def _paired_scores(spec: ModelSpec, candidate: Package, champion: Package | None, holdout: pa.Table) -> _PairedScores:
    days = None
    if "score_date" in holdout.column_names:
        numbers = np.asarray(holdout["score_date"].cast(pa.int32()).combine_chunks())
        days = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    models = [candidate] if champion is None else [candidate, champion]
    classes = tuple(dict.fromkeys(name for model in models for name in model.meaning.classes))
    kind, meaning = spec.training.kind, candidate.meaning
    scored = [_scores(model, holdout, spec, classes) for model in models]
    return _PairedScores(
        spec=spec,
        target=encoded(holdout[spec.training.target], kind, classes, meaning.positive),
        candidate=scored[0],
        champion=scored[1] if champion is not None else None,
        resampling=Resampling(
            replicates=spec.gates.bootstrap,
            confidence=spec.gates.confidence,
            seed=f"{candidate.digest}:{champion.digest if champion is not None else ''}",
            days=days,
        ),
    )


def _scores(package: Package, holdout: pa.Table, spec: ModelSpec, classes: tuple[str, ...]) -> _Scores:
    """The package's scores, with the threshold of production; of a multiclass model, a column for each class."""
    predictor = Predictor(package, threshold=spec.scoring.threshold)
    present = [name for name in predictor.input_columns if name in holdout.column_names]
    batches = holdout.select(present).combine_chunks().to_batches()
    inputs = [package.preprocess.transform(batch) for batch in batches]
    scores = np.concatenate([predictor.score(one) for one in inputs]).astype(np.float64)
    if spec.training.kind.per_class:
        spread = np.zeros((len(scores), len(classes)))
        spread[:, [classes.index(name) for name in package.meaning.classes]] = scores
        scores = spread
    return _Scores(scores, predictor.threshold)


def _absolute(spec: ModelSpec, figures: dict[str, float]) -> list[Check]:
    checks = [_floor(metric, bound, figures.get(metric)) for metric, bound in sorted(spec.gates.floors.items())]
    if spec.training.kind.thresholds:
        found, most = figures["calibration_error"], spec.gates.max_calibration_error
        checks.append(Check.of("calibration_error", found <= most, found, f"<= {most:g}"))
    others = {name: value for name, value in figures.items() if name not in spec.gates.floors}
    checks.append(
        Check(
            name="metrics",
            verdict=Verdict.PASS if all(map(math.isfinite, figures.values())) else Verdict.FAIL,
            bound="all computable",
            evidence=", ".join(f"{name} {value:.4f}" for name, value in sorted(others.items())),
        )
    )
    return checks


def _floor(metric: str, bound: MetricBound, found: float | None) -> Check:
    words = " and ".join(
        text
        for text in (
            f">= {bound.min:g}" if bound.min is not None else "",
            f"<= {bound.max:g}" if bound.max is not None else "",
        )
        if text
    )
    if found is None or not math.isfinite(found):
        evidence = "this metric is not defined for the task or for these rows"
        return Check(name=f"floor_{metric}", verdict=Verdict.FAIL, bound=words, evidence=evidence)
    good = (bound.min is None or found >= bound.min) and (bound.max is None or found <= bound.max)
    return Check.of(f"floor_{metric}", good, found, words)


def _no_champion_check() -> Check:
    return Check.of("superiority", True, "no champion yet", "the absolute checks alone, for the first model")


def _against_champion(paired: _PairedScores) -> list[Check]:
    spec = paired.spec
    primary = spec.gates.primary_metric
    guards = [metric for metric in spec.training.kind.guards if metric != primary]
    return [
        _superiority(primary, paired.gain(primary), paired),
        *(_non_inferiority(metric, paired.gain(metric), paired) for metric in guards),
    ]


def _superiority(metric: str, gain: Gain | None, paired: _PairedScores) -> Check:
    bound = f"lower bound > {paired.spec.gates.min_gain:g}"
    if gain is None:
        return _no_evidence(f"superiority_{metric}", bound)
    good = gain.lower > paired.spec.gates.min_gain
    return Check.of(f"superiority_{metric}", good, gain.lower, bound, _summary(gain, paired))


def _non_inferiority(metric: str, gain: Gain | None, paired: _PairedScores) -> Check:
    """Passes when shown not to be worse, fails when shown to be worse, warns when there are too few rows to tell."""
    if gain is None:
        return _no_evidence(f"not_worse_{metric}", "a gain that can be computed")
    margin = -GUARD_MARGIN * abs(gain.champion)
    verdict = Verdict.PASS if gain.lower > margin else Verdict.FAIL if gain.upper < 0 else Verdict.WARN
    return Check(
        name=f"not_worse_{metric}",
        verdict=verdict,
        observed=gain.lower,
        bound=f"lower bound > {margin:.5f}; fails when the upper bound < 0",
        evidence=_summary(gain, paired),
    )


def _slices(paired: _PairedScores, holdout: pa.Table) -> list[Check]:
    """Reports the primary metric by slice, with a warning where the candidate is shown to be worse."""
    metric, checks = paired.spec.gates.primary_metric, []
    for column in paired.spec.training.slices:
        values = holdout[column].cast(pa.string())
        for value in sorted(item for item in pc.unique(values).to_pylist() if item is not None):
            rows = np.asarray(pc.fill_null(pc.equal(values, value), fill_value=False).combine_chunks())
            if int(rows.sum()) >= MIN_SLICE_ROWS:
                checks.append(_slice(paired, metric, f"slice_{column}={value}", rows))
    return checks


def _slice(paired: _PairedScores, metric: str, name: str, rows: npt.NDArray[np.bool_]) -> Check:
    gain = paired.gain(metric, rows)
    if gain is not None:
        worse = gain.upper < 0
        return Check(
            name=name,
            verdict=Verdict.WARN if worse else Verdict.PASS,
            observed=gain.candidate,
            bound=f"{metric} not shown to be worse than the champion's {gain.champion:.4f}",
            evidence=f"{int(rows.sum())} rows; {_summary(gain, paired)}",
        )
    found = paired.figures(rows).get(metric, math.nan)
    computable = math.isfinite(found)
    return Check(
        name=name,
        verdict=Verdict.PASS if computable else Verdict.WARN,
        observed=found if computable else None,
        bound=f"{metric}, reported",
        evidence=f"{int(rows.sum())} rows" + ("" if computable else "; not computable, perhaps one class only"),
    )


def _summary(gain: Gain, paired: _PairedScores) -> str:
    how = paired.resampling
    return (
        f"candidate {gain.candidate:.5f}, champion {gain.champion:.5f}, gain {gain.gain:+.5f} "
        f"[{gain.lower:+.5f}, {gain.upper:+.5f}], {how.replicates} paired resamples by {how.unit}"
    )


def _no_evidence(name: str, bound: str) -> Check:
    return Check(name=name, verdict=Verdict.FAIL, bound=bound, evidence="cannot be computed on these rows")
