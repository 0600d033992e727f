"""A metric by days is the metric of `metrics.evaluate`, of all rows and of those of all other days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.evidence.daily import daily_metric, pair_wins
from tallywright.metrics import evaluate
from tallywright.tasks import TASKS


def rows_of(task: str, seed: int, count: int, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, scores (with ties) and days of random rows; a day may have one class only."""
    chance = np.random.default_rng(seed)
    of_day = np.concatenate([np.arange(days), chance.integers(0, days, count - days)])
    if task == "regression":
        target = chance.normal(1e6, 3, count)
        return target, target + chance.normal(0, 1, count).round(1), of_day
    if task == "multiclass":
        shares = chance.dirichlet([1, 2, 3], count)
        return chance.integers(-1, 3, count).astype(np.float64), shares, of_day
    scores = chance.uniform(0, 1, count).round(1).astype(np.float32).astype(np.float64)
    return (chance.uniform(size=count) < 0.4).astype(np.float64), scores, of_day


@given(seed=st.integers(0, 2**32), count=st.integers(4, 40), days=st.integers(1, 4), task=st.sampled_from([*TASKS]))
def test_it_is_the_metric_of_all_days_and_of_all_but_one(seed: int, count: int, days: int, task: str) -> None:
    target, scores, of_day = rows_of(task, seed, count, days)
    whole = evaluate(target, scores, task=task, threshold=0.3)
    for metric, value in whole.items():
        found = daily_metric(metric, target, scores, of_day, task=task, threshold=0.3)
        others = [
            evaluate(target[of_day != day], scores[of_day != day], task=task, threshold=0.3) for day in range(days)
        ]
        np.testing.assert_allclose(found.value, value, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(found.without, [one[metric] for one in others], rtol=1e-6, atol=1e-12)


@given(seed=st.integers(0, 2**32), count=st.integers(3, 40))
def test_wins_are_counted_between_days(seed: int, count: int) -> None:
    target, scores, days = rows_of("binary", seed, count, 3)
    found = pair_wins(target, scores, days, 3)
    expected = np.zeros((3, 3), np.int64)
    for one in np.flatnonzero(target == 1):
        for other in np.flatnonzero(target == 0):
            wins = 2 * (scores[one] > scores[other]) + (scores[one] == scores[other])
            expected[days[one], days[other]] += wins
    assert (found == expected).all()


def test_a_metric_of_another_task_is_none() -> None:
    with pytest.raises(KeyError):
        daily_metric("rmse", np.zeros(2), np.zeros(2), np.zeros(2, np.int64), task="binary")
