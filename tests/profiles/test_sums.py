"""Fixed-point sums are the exact whole numbers, whatever the values and however they come."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.profiles.cells import FixedPointSums, in_units
from tallywright.profiles.profile import SCORE_LIMIT, VALUE_LIMIT

odd = st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 3.4e38, -3.4e38, 1e-45, 0.5, 1.5, -2.5, 16777215.0, 16777216.0])
values_of_a_column = st.lists(st.floats(width=32) | odd, max_size=30)


def _units(value: float, bits: int, limit: int) -> int:
    return max(-limit, min(limit, round(Fraction(value) * Fraction(2) ** bits)))


@given(values_of_a_column, st.integers(-120, 120), st.sampled_from([VALUE_LIMIT, SCORE_LIMIT]), st.integers(0, 30))
def test_sums_of_any_values_are_those_of_whole_numbers(values, bits, limit, cut) -> None:
    block = np.array([values, values[::-1]], dtype=np.float32)
    sums = FixedPointSums([bits, 0], [limit, VALUE_LIMIT])
    for part in (block[:, :cut], block[:, cut:]):
        if part.shape[1]:
            null = sums.add(part.copy(), np.empty(part.shape))
            np.testing.assert_array_equal(np.zeros(part.shape, np.bool_) if null is None else null, np.isnan(part))
    held = [float(value) for value in block[0] if np.isfinite(value)]
    for place, (own, most) in enumerate([(bits, limit), (0, VALUE_LIMIT)]):
        whole = [_units(value, own, most) for value in held]
        assert sums.totals[place] == sum(whole)
        assert sums.squares[place] == sum(number * number for number in whole)
        beyond = [value for value in held if abs(round(Fraction(value) * Fraction(2) ** own)) > most]
        assert sums.clamped[place] == len(beyond)
        assert sums.infinite[place] == np.isinf(block[0]).sum()
        assert sums.minimum[place] == min(held, default=np.inf)
        assert sums.maximum[place] == max(held, default=-np.inf)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 2**13, 2**14])
@pytest.mark.parametrize("value", [VALUE_LIMIT, VALUE_LIMIT - 1, 2**20 + 1])
def test_squares_are_exact_on_both_sides_of_what_a_float_holds(rows: int, value: int) -> None:
    sums = FixedPointSums([0], [VALUE_LIMIT])
    block = np.full((1, rows), value, dtype=np.float32)
    block[0, 0] = 1
    for sign in (1, -1):
        sums.add(sign * block, np.empty(block.shape))
    assert sums.squares == [2 * (1 + (rows - 1) * value**2)]
    assert sums.totals == [0]


@given(values_of_a_column, st.integers(-120, 120))
def test_scores_in_units_are_whole_numbers_and_nan_is_none(values, bits) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = [
        0
        if np.isnan(score)
        else _units(score, bits, SCORE_LIMIT)
        if np.isfinite(score)
        else np.sign(score) * SCORE_LIMIT
        for score in map(float, scores)
    ]
    assert in_units(scores, bits, SCORE_LIMIT).tolist() == expected
    assert scores.tobytes() == np.array(values, dtype=np.float32).tobytes()
