"""The decision threshold by expected cost: the cheapest of all cut points, the same whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from synthetic import make_spec

from tallywright.metrics import decided, evaluate, losses
from tallywright.spec.sections import Costs
from tallywright.training.decision_threshold import decision_threshold

COSTS = {"false_positive": 2.0, "false_negative": 35.0}


def with_costs(false_positive: float = 2.0, false_negative: float = 35.0, **scoring: float):
    costs = {"false_positive": false_positive, "false_negative": false_negative}
    return make_spec(gates={"costs": costs}, scoring=scoring)


scores = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
money = st.sampled_from([0.5, 1.0, 2.0, 35.0])


@given(rows=st.lists(st.tuples(st.booleans(), scores), min_size=2, max_size=40), costs=st.tuples(money, money))
def test_no_cut_point_is_cheaper(rows: list[tuple[bool, float]], costs: tuple[float, float]) -> None:
    y, p = np.array([label for label, _ in rows]), np.array([score for _, score in rows], np.float32)
    assume(0 < y.sum() < len(y))
    spec = with_costs(*costs)
    found = decision_threshold(spec, y, p)
    # The ends of all ranges of thresholds that decide alike; the nearest to .5 of a range is an end, or .5 itself.
    ends = [0.0, 0.5, 1.0, *np.unique(p).astype(float), *np.nextafter(np.unique(p), np.float32(2)).astype(float)]

    def price(threshold: float) -> float:
        return float(losses("expected_cost", y, p, threshold=threshold, costs=spec.gates.costs).mean())

    priced = {end: price(end) for end in ends if end <= 1}
    least = min(priced.values())
    assert found.expected_cost == pytest.approx(least)
    assert price(found.value) == pytest.approx(least)
    near = {end: abs(end - 0.5) for end, cost in priced.items() if cost == pytest.approx(least)}
    nearest = [end for end, distance in near.items() if distance == min(near.values())]
    assert any((decided(p, found.value) == decided(p, end)).all() for end in nearest)
    assert 0 <= found.value <= 1
    order = np.random.default_rng(1).permutation(len(y))
    assert decision_threshold(spec, y[order], p[order]) == found


def test_of_equally_cheap_cuts_the_one_nearest_to_a_half_is_taken() -> None:
    y, p = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    # Cuts at .2 (one false positive) and at .9 (one missed) cost the same; their ranges end .3 from the half.
    found = decision_threshold(with_costs(1.0, 1.0), y, p)
    assert found.expected_cost == 0.25
    assert decided(p, found.value).tolist() == [False, True, True, True]
    apart = decision_threshold(with_costs(), np.array([0, 1]), np.array([0.2, 0.9], np.float32))
    assert (apart.value, apart.expected_cost) == (0.5, 0.0)


def test_a_threshold_of_the_spec_goes_before_costs_and_without_both_it_is_a_half() -> None:
    y, p = np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3], np.float32)
    assert decision_threshold(with_costs(threshold=0.7), y, p).value == 0.7
    assert decision_threshold(with_costs(threshold=0.7), y, p).recorded == {}
    assert decision_threshold(make_spec(), y, p).value == 0.5
    chosen = decision_threshold(with_costs(), y, p)
    assert (chosen.value, chosen.source) == (0.2, "expected cost on 3 validation rows")
    assert chosen.recorded["threshold"]["expected_cost"] == 0.0


def test_rows_of_one_class_choose_nothing_and_the_costs_alone_decide() -> None:
    found = decision_threshold(with_costs(), np.zeros(3), np.array([0.01, 0.2, 0.3], np.float32))
    assert found.value == pytest.approx(2 / 37)
    assert found.source == "false_positive / (false_positive + false_negative)"
    assert found.expected_cost == pytest.approx(2 * 2 / 3)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_the_expected_cost_is_the_mean_of_what_rows_cost(seed: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    y, p = chance.integers(0, 2, count), chance.random(count).astype(np.float32)
    costs = Costs(**COSTS)
    paid = losses("expected_cost", y, p, threshold=0.3, costs=costs)
    positive = p >= np.float32(0.3)
    assert paid.tolist() == [2 * (q and not t) + 35 * (t and not q) for q, t in zip(positive, y, strict=True)]
    assert evaluate(y, p, threshold=0.3, costs=costs)["expected_cost"] == pytest.approx(paid.mean())
    assert losses("expected_cost", y, p) is None
    assert "expected_cost" not in evaluate(y, p)
