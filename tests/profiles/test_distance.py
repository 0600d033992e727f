"""PSI and Jensen-Shannon: never negative, zero on equal shares, symmetric, and the values one computes by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from tallywright.profiles.comparison import js_distance, psi

pairs = st.integers(1, 30).flatmap(
    lambda cells: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=cells, max_size=cells)] * 2)
)


@given(pairs)
def test_never_negative_symmetric_and_bounded(pair) -> None:
    a, b = pair
    if not sum(a) or not sum(b):
        assert math.isnan(psi(a, b))
        assert math.isnan(js_distance(a, b))
        return
    assert psi(a, b) >= 0
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert 0 <= js_distance(a, b) <= 1
    assert js_distance(a, b) == pytest.approx(js_distance(b, a))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30).filter(any))
def test_zero_on_equal_shares(counts) -> None:
    assert psi(counts, counts) == 0
    assert js_distance(counts, counts) == 0
    assert psi(counts, np.array(counts) * 8) == pytest.approx(0, abs=1e-12)


def test_values_by_hand() -> None:
    assert psi([50, 50], [75, 25]) == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5))
    assert psi([1, 0], [0, 1]) == pytest.approx(2 * (1 - 1e-4) * math.log(1e4))
    assert js_distance([1, 0], [0, 1]) == 1
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 100, 20), rng.integers(1, 100, 20)
    assert js_distance(a, b) == pytest.approx(jensenshannon(a, b, base=2))


def test_other_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="same cells"):
        psi([1, 2], [1, 2, 3])
