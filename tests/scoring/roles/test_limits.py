"""A canary's limits: broken when the interval lies beyond them, the same however the rows were cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tallywright.scoring.roles.intervals import mean_interval, share_interval
from tallywright.scoring.roles.limits import judge_canary
from tallywright.scoring.roles.role_model import CanaryCounts, compared
from tallywright.spec.sections import CanaryLimits

BITS = 20
NOISE = np.random.default_rng(5)


def counts(differences: np.ndarray, *, problems: int = 0, bits: int = BITS) -> CanaryCounts:
    """A canary whose scores differ by these from a champion's."""
    champion = np.linspace(0.2, 0.6, differences.size).astype(np.float32)
    canary = (champion + differences).astype(np.float32)
    found = compared(champion, canary, bits)
    return found + CanaryCounts(rows=differences.size + problems, problems=problems, bits=bits)


def limits(**changes: float) -> CanaryLimits:
    return CanaryLimits.model_validate(changes)


def noisy(rows: int, mean: float, spread: float) -> np.ndarray:
    """Differences with exactly this mean, as the sums have it."""
    values = NOISE.normal(size=rows)
    return mean + spread * (values - values.mean())


# --- The intervals ----------------------------------------------------------------------------------------------


@given(count=st.integers(0, 400), more=st.integers(0, 100_000))
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(count: int, more: int) -> None:
    rows = count + more
    found = share_interval(count, rows)
    if rows:
        theirs = stats.binomtest(count, rows).proportion_ci(method="exact")
        assert found.lower == pytest.approx(theirs.low, rel=1e-7, abs=1e-12)
        assert found.upper == pytest.approx(theirs.high, rel=1e-7, abs=1e-12)
    else:
        assert (found.lower, found.upper) == (0, 1)


@given(st.lists(st.integers(-(2**30), 2**30), min_size=2, max_size=60))
def test_the_interval_of_a_mean_is_students(units: list[int]) -> None:
    found = mean_interval(len(units), sum(units), sum(unit**2 for unit in units), BITS)
    values = np.array(units) / 2**BITS
    half = stats.t.ppf(0.975, len(units) - 1) * values.std(ddof=1) / math.sqrt(len(units))
    assert found is not None
    assert found.value == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
    assert found.upper - found.value == pytest.approx(half, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 15, 300, 10**5, 10**7])
def test_the_interval_of_a_mean_holds_for_few_and_for_many(freedom: int) -> None:
    rows = freedom + 1
    found = mean_interval(rows, 0, rows, 0)
    assert found is not None
    expected = stats.t.ppf(0.975, freedom) * math.sqrt(rows / freedom / rows)
    assert found.upper == pytest.approx(expected, rel=1e-6)


def test_one_row_has_no_interval() -> None:
    assert mean_interval(1, 5, 25, 0) is None


# --- The sums ---------------------------------------------------------------------------------------------------

SCORES = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    pairs=st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    bits=st.integers(-60, 60),
)
def test_sums_are_exact_whatever_the_scores_and_the_same_however_rows_are_cut(pairs, cut, bits) -> None:  # type: ignore[no-untyped-def]
    champion, canary = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    whole = compared(champion, canary, bits)
    parts = compared(champion[:cut], canary[:cut], bits) + compared(champion[cut:], canary[cut:], bits)
    assert parts == whole
    each = [compared(champion[row : row + 1], canary[row : row + 1], bits) for row in range(len(pairs))]
    assert whole.difference_squares == sum((one.canary_total - one.champion_total) ** 2 for one in each)


def test_squares_of_many_rows_do_not_overflow() -> None:
    rows = 200_001
    champion, canary = np.full(rows, -np.inf, np.float32), np.full(rows, np.inf, np.float32)
    assert compared(champion, canary, 30).difference_squares == rows * 2**82


# --- The limits -------------------------------------------------------------------------------------------------


def test_a_difference_of_few_rows_that_may_be_noise_breaks_nothing_and_is_said() -> None:
    """16 rows, a mean difference of .06 against a limit of .05, with a spread of .1: [.007, .113]."""
    found = judge_canary(limits(max_mean_difference=0.05), counts(noisy(16, 0.06, 0.1)))
    assert found.broken == ""
    assert "16 rows" in found.unsettled
    assert "more than 0.05 is not shown" in found.unsettled


def test_the_same_difference_of_many_rows_breaks_the_limit() -> None:
    found = judge_canary(limits(max_mean_difference=0.05), counts(noisy(1600, 0.06, 0.1)))
    assert "the mean score of 1600 rows differs from the champion's by +0.06 [+0.05" in found.broken
    assert "more than 0.05" in found.broken
    assert found.unsettled == ""


@pytest.mark.parametrize("sign", [-1, 1])
def test_either_direction_breaks_the_limit(sign: int) -> None:
    assert judge_canary(limits(max_mean_difference=0.05), counts(sign * noisy(400, 0.1, 0.1))).broken


def test_equal_models_are_within_every_limit() -> None:
    found = judge_canary(limits(max_mean_difference=0.0), counts(np.zeros(100)))
    assert (found.broken, found.unsettled) == ("", "")
    assert "100 rows" in found.figures


def test_noise_around_the_limit_breaks_it_on_few_days() -> None:
    """At the limit itself a day breaks it with 2.5 %; by the point it was a half."""
    random = np.random.default_rng(11)
    days = [counts(random.normal(0.05, 0.2, size=16)) for _ in range(2000)]
    share = np.mean([bool(judge_canary(limits(max_mean_difference=0.05), day).broken) for day in days])
    assert 0.01 < share < 0.045


def test_a_problem_breaks_a_limit_of_none() -> None:
    found = judge_canary(limits(max_problem_share=0.0), counts(np.zeros(5000), problems=1))
    assert "1 of 5001 rows have no sound answer" in found.broken


def test_a_share_of_problems_breaks_its_limit_once_it_is_shown() -> None:
    few = judge_canary(limits(max_problem_share=0.01), counts(np.zeros(15), problems=1))
    assert few.broken == ""
    assert "1 of 16 rows have no sound answer" in few.unsettled
    assert "6.25 %" not in few.unsettled
    assert "6.25% [0.16%, 30.23%]" in few.unsettled
    many = judge_canary(limits(max_problem_share=0.01), counts(np.zeros(1500), problems=100))
    assert "6.25% [5.11%, 7.55%]" in many.broken


def test_a_canary_without_a_row_to_compare_is_not_judged() -> None:
    found = judge_canary(limits(), counts(np.zeros(1)))
    assert found.broken == ""
    assert "not judged" in found.unsettled


def test_a_graph_that_failed_where_none_may_breaks_the_limit() -> None:
    assert "its graph raises an error" in judge_canary(limits(), CanaryCounts(stopped=True)).broken
