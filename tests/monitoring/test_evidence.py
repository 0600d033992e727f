from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.monitoring.policy import improbable, js_p_value, noncentral_chi2_sf, psi_p_value, share_p_value

CELLS = 20


@pytest.mark.parametrize(
    ("value", "freedom", "probability", "error"),
    [
        (30.144, 19, 0.05, 0.03),
        (36.191, 19, 0.01, 0.03),
        (43.820, 19, 0.001, 0.05),
        (7.815, 3, 0.05, 0.03),
        (16.266, 3, 0.001, 0.15),
    ],
)
def test_the_chi_square_tail_agrees_with_the_printed_tables(
    value: float, freedom: int, probability: float, error: float
) -> None:
    assert noncentral_chi2_sf(value, freedom) == pytest.approx(probability, rel=error)


@pytest.mark.parametrize(("freedom", "shift"), [(3, 2.0), (19, 20.0), (19, 180.0), (99, 2000.0)])
def test_the_noncentral_tail_agrees_with_simulation(freedom: int, shift: float) -> None:
    draws = np.random.default_rng(5).noncentral_chisquare(freedom, shift, 400_000)
    for probability in (0.5, 0.05, 0.005):
        value = float(np.quantile(draws, 1 - probability))
        assert noncentral_chi2_sf(value, freedom, shift) == pytest.approx(probability, rel=0.06)


def psi(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    smooth_p, smooth_q = (counts + 0.5 for counts in (p, q))
    a = smooth_p / smooth_p.sum(axis=-1, keepdims=True)
    b = smooth_q / smooth_q.sum(axis=-1, keepdims=True)
    return np.sum((b - a) * np.log(b / a), axis=-1)


def days(shares: np.ndarray, rows: int, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """PSI of `count` days of `rows` rows with these cell shares, against a reference of 100,000 rows of equal cells."""
    random = np.random.default_rng(rows)
    reference = random.multinomial(100_000, np.full(CELLS, 1 / CELLS), size=count)
    return reference, random.multinomial(rows, shares, size=count)


def at_psi(target: float) -> np.ndarray:
    """Cell shares tilted so far that their PSI from equal shares is the target."""
    low, high = 0.0, 5.0
    equal = np.full(CELLS, 1 / CELLS)
    for _ in range(60):
        tilt = (low + high) / 2
        shares = np.exp(tilt * np.linspace(-1, 1, CELLS))
        shares /= shares.sum()
        found = float(np.sum((shares - equal) * np.log(shares / equal)))
        low, high = (tilt, high) if found < target else (low, tilt)
    return shares


@pytest.mark.parametrize("rows", [200, 1_000, 10_000])
def test_no_change_is_no_violation_where_the_bare_threshold_would_fire(rows: int) -> None:
    values = psi(*days(np.full(CELLS, 1 / CELLS), rows))
    alarms = [psi_p_value(float(value), 0.1, (100_000, rows), CELLS) <= 0.01 for value in values]
    assert sum(alarms) == 0
    if rows == 200:
        assert np.mean(values > 0.1) > 0.3  # what a fixed threshold does


@pytest.mark.parametrize("rows", [200, 1_000, 10_000])
def test_at_the_boundary_false_alarms_keep_the_promise(rows: int) -> None:
    values = psi(*days(at_psi(0.2), rows))
    alarms = [psi_p_value(float(value), 0.2, (100_000, rows), CELLS) <= 0.05 for value in values]
    assert np.mean(alarms) <= 0.055  # nominal 0.05; 0.035 to 0.050 found


def test_a_large_shift_is_found_on_a_small_day() -> None:
    values = psi(*days(at_psi(0.8), 500))
    alarms = [psi_p_value(float(value), 0.2, (100_000, 500), CELLS) <= 0.001 for value in values]
    assert np.mean(alarms) > 0.99


def test_js_uses_the_same_scale_as_psi() -> None:
    value, threshold = 0.17, 0.1
    assert js_p_value(value, threshold, (100_000, 900), CELLS) == pytest.approx(
        psi_p_value(5.545177 * value**2, 5.545177 * threshold**2, (100_000, 900), CELLS), rel=1e-4
    )


@given(st.integers(1, 3000), st.floats(0.01, 0.5), st.data())
def test_the_share_bound_is_never_below_the_exact_tail(rows: int, tolerated: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, rows))
    bound = share_p_value(count, rows, tolerated)
    draws = np.random.default_rng(1).binomial(rows, tolerated, 2000)
    assert bound >= np.mean(draws >= count) - 0.05
    assert 0.0 <= bound <= 1.0


@pytest.mark.parametrize(
    ("count", "rows", "tolerated", "expected"),
    [(0, 0, 0.1, 1.0), (5, 10, 0.5, 1.0), (1, 10, 0.0, 0.0), (10, 10, 0.5, 0.5**10), (10, 10, 1.0, 1.0)],
)
def test_the_share_bound_at_its_edges(count: int, rows: int, tolerated: float, expected: float) -> None:
    assert share_p_value(count, rows, tolerated) == pytest.approx(expected)


def test_degenerate_comparisons_are_no_evidence() -> None:
    assert psi_p_value(3.0, 0.1, (0, 100), CELLS) == 1.0
    assert psi_p_value(3.0, 0.1, (100, 100), 1) == 1.0
    assert noncentral_chi2_sf(0.0, 5) == 1.0


def test_benjamini_hochberg_holds_the_whole_day_to_one_rate() -> None:
    assert improbable([0.001, 0.2, 0.03, 0.9], 0.05) == [True, False, False, False]
    assert improbable([0.01, 0.02, 0.03, 0.04], 0.05) == [True, True, True, True]
    assert improbable([0.06], 0.05) == [False]
    assert improbable([]) == []
