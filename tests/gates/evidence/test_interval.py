"""Bounds miss as often as they say: where days are alike, and where each resembles the day before."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tallywright.distributions import student_point
from tallywright.gates.evidence.daily import DailyMetric, daily_metric
from tallywright.gates.evidence.interval import MIN_DAYS, Estimate, combined, days_needed, jackknife
from tallywright.tasks import metric_of


@pytest.mark.parametrize("tail", [0.5, 0.3, 0.05, 0.02, 0.001, 1e-6])
@pytest.mark.parametrize("freedom", [1, 1.7, 5, 13, 27.4, 364])
def test_points_of_students_t(tail: float, freedom: float) -> None:
    assert student_point(tail, freedom) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-9, abs=1e-9)


def of_days(values: np.ndarray) -> DailyMetric:
    """A mean whose days have one row each."""
    return daily_metric("mae", np.zeros(len(values)), values, np.arange(len(values)), task="regression")


def test_of_a_mean_it_is_the_plain_t() -> None:
    values = np.abs(np.random.default_rng(2).permutation(np.linspace(1, 3, 21)))
    found = jackknife(of_days(values))
    assert found is not None
    plain = values.std(ddof=1) / math.sqrt(21)
    assert found.error == pytest.approx(plain * math.sqrt(found.inflation))
    assert found.lower(0.05) == pytest.approx(found.value - stats.t.isf(0.05, 20) * found.error)
    assert found.lower(0.05) < found.value < found.upper(0.05)


def test_equal_models_have_no_gain_and_no_error() -> None:
    same = of_days(np.arange(1.0, 9.0))
    found = jackknife(same.gain_over(same, metric_of("mae")))
    assert found is not None
    assert (found.value, found.lower(0.01), found.upper(0.01)) == (0, 0, 0)


def test_few_days_and_what_days_do_not_define_have_no_bounds() -> None:
    assert jackknife(of_days(np.arange(MIN_DAYS - 1.0))) is None
    assert jackknife(of_days(np.arange(MIN_DAYS + 0.0))) is not None
    days = np.arange(MIN_DAYS)
    one_class = daily_metric("roc_auc", np.ones(MIN_DAYS), np.ones(MIN_DAYS), days, task="binary")
    assert jackknife(one_class) is None
    positives_on_one_day = daily_metric("roc_auc", (days == 0) + 0.0, np.ones(MIN_DAYS), days, task="binary")
    assert jackknife(positives_on_one_day) is None


def misses(days: int, correlation: float, worlds: int, seed: int, level: float = 0.05) -> tuple[float, float]:
    """How often the lower and the upper bound of a mean of dependent days miss it."""
    chance = np.random.default_rng(seed)
    noise = chance.standard_normal((worlds, days))
    noise[:, 0] /= math.sqrt(1 - correlation**2)
    for day in range(1, days):
        noise[:, day] += correlation * noise[:, day - 1]
    below = above = 0
    for world in noise + 100.0:  # the mean of absolute values is then the mean
        found = jackknife(of_days(world))
        assert found is not None
        below += found.lower(level) > 100.0
        above += found.upper(level) < 100.0
    return below / worlds, above / worlds


def limits(share: float, worlds: int) -> tuple[float, float]:
    """Between which a share that is seen in so many worlds lies in all but one of 10,000 tests."""
    reach = 4 * math.sqrt(share * (1 - share) / worlds)
    return share - reach, share + reach


@pytest.mark.parametrize(("days", "correlation"), [(14, 0.0), (14, 0.5), (42, 0.0), (42, 0.5)])
def test_a_bound_misses_about_as_often_as_it_says(days: int, correlation: float) -> None:
    for found in misses(days, correlation, 1_000, seed=days):
        assert limits(0.03, 1_000)[0] < found < limits(0.07, 1_000)[1]


@pytest.mark.long
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize("days", [6, 8, 10, 14, 21, 28, 42, 60])
def test_so_it_does_in_many_worlds(days: int, correlation: float) -> None:
    least, most = (0.03, 0.07) if days >= 14 else (0.025, 0.085)
    for found in misses(days, correlation, 20_000, seed=days):
        assert limits(least, 20_000)[0] < found < limits(most, 20_000)[1]


def test_two_samples_are_one_mean_weighted_by_days() -> None:
    first, second = Estimate(1.0, 0.2, 13, 14), Estimate(2.0, 0.1, 27, 28)
    both = combined([first, second])
    assert both is not None
    assert (both.value, both.days) == (pytest.approx(5 / 3), 42)
    parts = np.array([0.2 / 3, 0.1 * 2 / 3]) ** 2
    assert both.error == pytest.approx(math.sqrt(parts.sum()))
    assert both.freedom == pytest.approx(parts.sum() ** 2 / (parts[0] ** 2 / 13 + parts[1] ** 2 / 27))
    assert combined([first]) is first
    assert combined([]) is None
    same = Estimate(0.0, 0.0, 13, 14)
    assert combined([same, same]) == Estimate(0.0, 0.0, 26, 28)


@pytest.mark.parametrize("worlds", [400, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_bound_of_two_samples_misses_about_as_often_as_it_says(worlds: int) -> None:
    chance, missed = np.random.default_rng(4), 0
    for _ in range(worlds):
        parts = [jackknife(of_days(chance.normal(100, spread, days))) for days, spread in ((14, 1.0), (28, 3.0))]
        both = combined([part for part in parts if part is not None])
        assert both is not None
        missed += both.lower(0.05) > 100
    assert limits(0.02, worlds)[0] < missed / worlds < limits(0.07, worlds)[1]


def test_the_days_that_show_a_gain_show_it_half_of_the_time() -> None:
    days = days_needed(0.5, 2.0, 0.02)
    assert days is not None
    chance = np.random.default_rng(1)
    shown = [student_point(0.02, days - 1) * world.std(ddof=1) / math.sqrt(days) < world.mean()
             for world in chance.normal(0.5, 2.0, (2_000, days))]  # fmt: skip
    assert 0.45 < np.mean(shown) < 0.55
    assert days_needed(1e-6, 2.0, 0.02) is None
    assert days_needed(100.0, 2.0, 0.02) == MIN_DAYS
