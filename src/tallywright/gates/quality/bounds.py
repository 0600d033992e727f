"""The absolute bounds of the quality gate: thresholds of metrics, calibration, and the metric over time.

A bound is met when the interval of the metric clears it. A metric that is beyond its bound fails; one within it whose
interval reaches beyond is not decided: more days would tell. The calibration error only warns there: it is above 0 for
a perfect model too, the more so the fewer rows there are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.class_metrics import MOST_CLASSES
from tallywright.gates.quality.scored_rows import figure_of
from tallywright.records import Check, Verdict
from tallywright.spec.sections import MetricBound
from tallywright.tasks import is_of_class, metric_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.gates.evidence.interval import Estimate
    from tallywright.gates.quality.scored_rows import Measured, ScoredRows

FLOOR: Final = "floor_"
METRIC: Final = "metric_"
"""What the names of checks about a metric begin with: those with a bound, and those that are only reported."""
CALIBRATION: Final = "calibration_error"
_MOST_FOLDS: Final = 4
_LEAST_FOLD: Final = 3
"""Days of a fold: a shorter stretch of time says more about its days than about the model."""


def absolute_checks(samples: Sequence[ScoredRows], figures_of: Sequence[Mapping[str, float]]) -> list[Check]:
    """The checks that need no champion.

    Args:
        samples: The rows that are judged.
        figures_of: The candidate's metrics on each of them, those of single classes too.

    Raises:
        ValueError: Labels or scores that the metrics do not take.
    """
    spec, figures = samples[0].spec, figures_of[0]
    gates, kind = spec.gates, spec.training.kind
    bounds = dict(sorted(gates.floors.items()))
    named = {f"{FLOOR}{metric}": (metric, bound) for metric, bound in bounds.items()}
    if CALIBRATION in kind.metrics:
        named[CALIBRATION] = (CALIBRATION, MetricBound(max=gates.max_calibration_error))
    level = 1 - gates.confidence
    checks = [
        _bound(name, metric, figure_of(samples, figures_of, metric), bound, level)
        for name, (metric, bound) in named.items()
    ]
    if kind.per_class and spec.spec_version == 1 and "max_calibration_error" not in gates.model_fields_set:
        # The first release did not look at it: a spec that it accepted is warned.
        checks = [_warned(check) if check.name == CALIBRATION else check for check in checks]
    # What is known of single classes has checks of its own, which say where a class has no row.
    whole = {name: value for name, value in figures.items() if not is_of_class(name)}
    others = {name: value for name, value in whole.items() if name not in bounds}
    judged = {metric for metric, _ in named.values()}
    checks += [
        _reported(metric, figure_of(samples, figures_of, metric), level) for metric in whole if metric not in judged
    ]
    checks.append(
        Check(
            name="metrics",
            verdict=Verdict.PASS if all(map(math.isfinite, whole.values())) else Verdict.FAIL,
            bound="all computable",
            evidence=", ".join(f"{name} {value:.4f}" for name, value in sorted(others.items())),
        )
    )
    return [*checks, *_over_time(samples[0])]


def _bound(name: str, metric: str, figure: Measured | None, bound: MetricBound, level: float) -> Check:
    words = " and ".join(
        text
        for text in (
            f">= {bound.min:g}" if bound.min is not None else "",
            f"<= {bound.max:g}" if bound.max is not None else "",
        )
        if text
    )
    if figure is None or not math.isfinite(figure.value):
        evidence = _why_undefined(figure)
        return Check(name=name, verdict=Verdict.FAIL, bound=words, evidence=evidence)
    if figure.estimate is None:
        verdict = Verdict.WARN if _within(bound, figure.value, figure.value) else Verdict.FAIL
        told = _interval(metric, figure, level)
        return Check(name=name, verdict=verdict, observed=figure.value, bound=words, evidence=told)
    verdict = (
        Verdict.FAIL
        if not _within(bound, figure.value, figure.value)
        else Verdict.PASS
        if _within(bound, *_limits(metric, figure.estimate, level))
        else Verdict.WARN
        if name == CALIBRATION
        else Verdict.UNDECIDED
    )
    return Check(
        name=name,
        verdict=verdict,
        observed=figure.value,
        bound=f"{words}, by its interval",
        evidence=_interval(metric, figure, level),
    )


def _reported(metric: str, figure: Measured | None, level: float) -> Check:
    """A metric that nobody has bounded, with its interval."""
    value = figure.value if figure is not None and math.isfinite(figure.value) else None
    told = "not defined for these rows" if figure is None or value is None else _interval(metric, figure, level)
    return Check(name=METRIC + metric, verdict=Verdict.PASS, observed=value, bound="reported", evidence=told)


def _limits(metric: str, estimate: Estimate, level: float) -> tuple[float, float]:
    """The bounds of the interval, inside of what the metric can be: a t interval knows no least error of 0."""
    about = metric_of(metric)
    return max(estimate.lower(level), about.least), min(estimate.upper(level), about.greatest)


def _interval(metric: str, figure: Measured, level: float) -> str:
    if figure.estimate is None:
        return f"no interval, its {figure.days} days are too few for one"
    lower, upper = _limits(metric, figure.estimate, level)
    return f"[{lower:.5f}, {upper:.5f}] at {100 * (1 - level):g} % on each side, from {figure.days} days"


def _warned(check: Check) -> Check:
    return check.model_copy(update={"verdict": Verdict.WARN}) if check.verdict is Verdict.FAIL else check


def _why_undefined(figure: Measured | None) -> str:
    if figure is None:
        return (
            f"no metric of the task, or of no class of the model; where there are more than {MOST_CLASSES} classes, "
            "single ones have no figures"
        )
    return "these rows do not define it: they have one class only, or none of the class that it is about"


def _within(bound: MetricBound, lower: float, upper: float) -> bool:
    return (bound.min is None or lower >= bound.min) and (bound.max is None or upper <= bound.max)


def _over_time(scored: ScoredRows) -> list[Check]:
    """The primary metric in stretches of the holdout, one after the other; one beyond the metric's bound is a warning.

    None where the holdout is too short to have two.
    """
    dates = np.unique(scored.dates)
    folds = min(_MOST_FOLDS, len(dates) // _LEAST_FOLD)
    if folds <= 1:
        return []
    metric = scored.spec.gates.primary_metric
    bound = scored.spec.gates.floors.get(metric)
    found, told = [], []
    for fold in np.array_split(dates, folds):
        value = scored.figures(np.isin(scored.dates, fold)).get(metric, math.nan)
        found.append(value)
        told.append(f"{np.datetime64(int(fold[0]), 'D')} to {np.datetime64(int(fold[-1]), 'D')} {value:.4f}")
    good = all(math.isfinite(value) and (bound is None or _within(bound, value, value)) for value in found)
    return [
        Check(
            name="stability",
            verdict=Verdict.PASS if good else Verdict.WARN,
            bound=f"{metric} within its bound in each of {folds} stretches of time",
            evidence="; ".join(told),
        )
    ]
