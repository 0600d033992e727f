"""What the quality gate has found: metrics with intervals, the champion beside it, slices, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.evidence.level import LEVEL, LOOK
from tallywright.gates.quality.bounds import CALIBRATION, FLOOR, METRIC
from tallywright.gates.quality.reliability import RELIABILITY, tenths_of
from tallywright.gates.quality.slices import SLICE_CHECK
from tallywright.gates.quality.superiority import ERROR
from tallywright.mlflow_names import SLICE
from tallywright.records import JUDGED_AGAINST, NO_CHAMPION, Check, Verdict
from tallywright.reporting.card.content import NOT_RECORDED, CardSection, CardTable, check_table, facts, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.reporting.card.known import KnownVersion

METRICS: Final = (FLOOR, METRIC, CALIBRATION)
AGAINST: Final = ("superiority", "not_worse_", "pair_days", LEVEL, LOOK, ERROR)
"""What the names of checks begin with that have a section of their own."""


def metrics(known: KnownVersion) -> CardSection:
    """The metrics on the held-out rows, each with its interval; beside them the baselines."""
    return CardSection(
        "metrics",
        "Metrics",
        paragraphs=("On held-out rows, which no fit has seen; intervals come from how the days differ.",)
        if known.quality_checks(*METRICS)
        else (),
        tables=(*_metric_table(known), *_beside(known)),
    )


def comparison(known: KnownVersion) -> CardSection:
    """The champion that it was compared with."""
    against = None if known.quality is None else known.quality.observed(JUDGED_AGAINST)
    if against is None:
        return CardSection("comparison", "Compared with the champion")
    number = known.versions.get(str(against))
    named = f"version {number}" if number is not None else "a version that this lake does not know"
    champion = "none: the first model needs the absolute checks alone" if against == NO_CHAMPION else named
    return CardSection(
        "comparison",
        "Compared with the champion",
        facts=facts(("champion then", champion), *[("its package", against)] * (against != NO_CHAMPION)),
        tables=check_table(
            "Gain over the champion, on days that neither was fitted on", known.quality_checks(*AGAINST)
        ),
    )


def slices(known: KnownVersion) -> CardSection:
    """The primary metric by slice, what is worst first."""
    checks = list(known.quality_checks(SLICE_CHECK, "slices"))
    ranked = sorted(checks, key=lambda one: -list(Verdict).index(one.verdict))
    columns = ", ".join(known.spec.training.slices)
    return CardSection(
        "slices",
        "Slices",
        # Which metric that was stands in the bounds: the spec may name another one by now.
        tables=check_table("The primary metric by slice", ranked, named="slice", prefix=SLICE_CHECK),
        nothing=NOT_RECORDED if columns else "the spec names no slices: training.slices",
    )


def calibration(known: KnownVersion) -> CardSection:
    """How far scores can be taken at their word."""
    tenths = [] if known.quality is None else tenths_of(known.quality)
    error = known.quality_checks(CALIBRATION)
    rows = [(one.predicted, one.observed, _interval(one.lower, one.upper), one.rows) for one in tenths]
    told = known.quality_checks(RELIABILITY)
    caption = told[0].bound.removeprefix("reported: ") if told else ""
    return CardSection(
        "calibration",
        "Calibration",
        tables=(
            *check_table("Expected calibration error", error),
            *table(f"Reliability: {caption}", ("mean score", "outcome", "interval", "rows"), rows),
        ),
        reliability=tuple(tenths),
    )


def _metric_table(known: KnownVersion) -> tuple[CardTable, ...]:
    checks: Sequence[Check] = known.quality_checks(*METRICS)
    columns = ("metric", "value", "interval", "bound", "verdict")
    if checks:
        rows = [
            (_metric(one.name), one.observed, one.evidence or NOT_RECORDED, one.bound, one.verdict.value)
            for one in checks
        ]
        return table("The model on its holdout", columns, rows)
    recorded: dict[str, Any] = (known.metadata("evaluation") or {}).get("model", {})
    rows = [(name, value, NOT_RECORDED, NOT_RECORDED, NOT_RECORDED) for name, value in sorted(recorded.items())]
    return table("The model on its holdout", columns, rows)


def _metric(name: str) -> str:
    return name.removeprefix(FLOOR).removeprefix(METRIC)


def _beside(known: KnownVersion) -> tuple[CardTable, ...]:
    """The evaluation in the package: the model, what it was trained beside, and its validation."""
    found: dict[str, dict[str, float]] = known.metadata("evaluation") or {}
    whole = {name: values for name, values in found.items() if not name.startswith(SLICE)}
    if len(whole) <= 1:
        return ()
    names = sorted({metric for values in whole.values() for metric in values})
    rows = [(name, *(values.get(metric) for metric in names)) for name, values in whole.items()]
    return table("Beside other estimators, baselines and its own validation", ("model", *names), rows)


def _interval(lower: float | None, upper: float | None) -> str | None:
    return None if lower is None or upper is None else f"{lower:.5g} to {upper:.5g}"
