"""The decision threshold of a binary model: the spec's, else the one that costs least on the validation rows, else .5.

A calibrated probability would need no choice: the least cost is at false_positive / (false_positive + false_negative)
(Elkan, "The foundations of cost-sensitive learning", IJCAI 2001). Fitted models are not calibrated everywhere, so all
cut points of the validation rows are tried; where these have one class only, that formula decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tallywright.metrics import losses
from tallywright.observability import log
from tallywright.packaging.meta import THRESHOLD
from tallywright.tasks import EXPECTED_COST

if TYPE_CHECKING:
    from tallywright.spec.model import ModelSpec
    from tallywright.spec.sections import Costs

Floats = npt.NDArray[np.float32]
_MIDDLE: Final = 0.5
_MOST_DIGITS: Final = 9
"""Significant digits of a float32: a threshold with more would say no more."""


@dataclass(frozen=True, slots=True)
class DecisionThreshold:
    """A threshold, and how it was found; `expected_cost` a row on the validation rows, where that decided."""

    value: float
    source: str
    expected_cost: float | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """How it was chosen, for the record; empty where the spec said it, or its silence."""
        if self.expected_cost is None:
            return {}
        return {THRESHOLD: {"value": self.value, "source": self.source, "expected_cost": self.expected_cost}}


def decision_threshold(spec: ModelSpec, y: npt.ArrayLike, p: npt.NDArray[Any]) -> DecisionThreshold:
    """The threshold of a model.

    Args:
        spec: With a threshold, or with costs, or neither.
        y: Labels 0 and 1 of the validation rows.
        p: Their probabilities, as the package gives them.
    """
    costs = spec.gates.costs
    if costs is None or not spec.training.kind.thresholds or "threshold" in spec.scoring.model_fields_set:
        return DecisionThreshold(spec.scoring.threshold, "scoring.threshold")
    labels, scores = np.asarray(y) == 1, np.asarray(p, np.float32)
    if labels.all() or not labels.any():
        log.warning("the validation rows have one class only: the decision threshold follows from the costs alone")
        value = costs.false_positive / (costs.false_positive + costs.false_negative)
        paid = losses(EXPECTED_COST, labels, scores, threshold=value, costs=costs)
        assert paid is not None  # noqa: S101 - it is a mean of rows
        return DecisionThreshold(value, "false_positive / (false_positive + false_negative)", float(paid.mean()))
    return _cheapest(labels, scores, costs)


def _cheapest(labels: npt.NDArray[np.bool_], scores: Floats, costs: Costs) -> DecisionThreshold:
    """The cheapest of all cut points; of equally cheap ones the nearest to .5, and of two as near the lower."""
    cuts, places = np.unique(scores, return_inverse=True)
    positives = np.bincount(places, weights=labels, minlength=len(cuts))
    negatives = np.bincount(places, weights=~labels, minlength=len(cuts))
    # A cut at a score predicts it and all above: what is missed lies below, what is false lies above. The last cut is
    # above all scores.
    missed = np.concatenate([[0.0], np.cumsum(positives)])
    false = negatives.sum() - np.concatenate([[0.0], np.cumsum(negatives)])
    totals = costs.false_negative * missed + costs.false_positive * false
    lower = np.concatenate([[-np.inf], cuts]).astype(np.float32)
    upper = np.concatenate([cuts, [np.inf]]).astype(np.float32)
    possible = lower < 1  # where some score is 1, no threshold is above all of them
    best = np.flatnonzero(possible & (totals == totals[possible].min()))
    inside = np.clip(_MIDDLE, np.nextafter(lower[best], np.float32(2)), np.minimum(upper[best], 1))
    place = best[int(np.argmin(np.abs(inside - _MIDDLE)))]
    value = _within(lower[place], upper[place])
    return DecisionThreshold(
        value, f"expected cost on {len(labels)} validation rows", float(totals[place] / len(labels))
    )


def _within(lower: np.float32, upper: np.float32) -> float:
    """A threshold above `lower` and at most `upper`: .5 if it may be, else the shortest decimal near their middle."""
    low, high = max(float(lower), 0.0), min(float(upper), 1.0)
    if lower < np.float32(_MIDDLE) <= upper:
        return _MIDDLE
    middle = (low + high) / 2
    for digits in range(1, _MOST_DIGITS + 1):
        value = round(middle, digits)
        if lower < np.float32(value) <= upper and value <= 1:
            return value
    return high
