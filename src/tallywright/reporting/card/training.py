"""How a version was made: fitted here or adopted, tuned or not, and how its decision threshold was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.packaging.meta import ESTIMATOR, ROUNDS, THRESHOLD, TUNED
from tallywright.reporting.card.content import CardSection, facts, shown
from tallywright.spec.tuning import outcomes_told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallywright.reporting.card.known import KnownVersion


def training(known: KnownVersion) -> CardSection:
    """The recipe: estimator, columns, code, seed; of an adopted version the origin of its file."""
    package, adopted = known.package, known.adopted
    config: dict[str, Any] = known.metadata("training_config") or {}
    inputs = () if package is None else package.preprocess.columns
    return CardSection(
        "training",
        "Training",
        facts=facts(
            *(_fitted(config) if adopted is None else _adopted(adopted)),
            ("inputs", inputs or None),
            *[("classes", known.metadata("classes"))] * bool(known.metadata("classes")),
            ("decision threshold", None if package is None else package.postprocess.threshold),
            *_costs(known, config.get(THRESHOLD)),
            ("refitted on all rows", _refitted(known)),
            ("why it was trained", known.row.reason or "nobody has said so"),
            ("MLflow run", known.row.run_id or known.metadata("run_id")),
            ("code", known.row.code_version or known.metadata("code_version")),
            ("made", known.metadata("created_at")),
        ),
    )


def _fitted(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    recipe, tuned = config.get("training") or {}, config.get(TUNED)
    yield "estimator", config.get(ESTIMATOR)
    yield "rounds", config.get(ROUNDS)
    yield "seed", str(recipe["seed"]) if "seed" in recipe else None
    if tuned:
        yield "tuned", f"{tuned['trials']} trials ({outcomes_told(tuned)})"
        yield "tuned parameters", [f"{name}: {shown(value)}" for name, value in tuned["parameters"].items()]
        best = f"trial {tuned['best'] + 1}"
        yield "best on validation", f"{best}, {tuned['metric']} {shown(tuned['value'])}"


def _adopted(origin: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    yield "estimator", "adopted: nothing was fitted here"
    yield "source", origin["source"]
    yield "library", origin["library"]
    yield "sha256 of the file", origin["sha256"]
    yield "has seen rows through", f"{origin['trained_through']}, by the word of {origin['by']}"


def _costs(known: KnownVersion, chosen: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """What wrong decisions cost, and how the threshold was chosen; nothing where no costs are given."""
    costs = known.costs
    currency = "" if costs is None else f" {costs.currency}"
    if chosen is not None:
        paid = f"{shown(chosen['expected_cost'])}{currency} a row"
        yield "threshold chosen by", f"{chosen['source']}: {paid}"
    elif costs is not None:
        yield "threshold chosen by", "scoring.threshold of the spec"
    if costs is not None:
        yield "cost of a false positive", f"{shown(costs.false_positive)}{currency}"
        yield "cost of a false negative", f"{shown(costs.false_negative)}{currency}"


def _refitted(known: KnownVersion) -> bool | None:
    judged = known.metadata("judged")
    return None if judged is None else bool(judged)
