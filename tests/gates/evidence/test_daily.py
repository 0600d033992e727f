"""A metric by days is the metric of `metrics.evaluate`, of all rows and of those of all other days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.evidence.daily import daily_metric, pair_wins
from tallywright.metrics import evaluate
from tallywright.spec.sections import Costs
from tallywright.tasks import TASKS

COSTS = Costs(false_positive=2, false_negative=35)


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
    asked = {"task": task, "threshold": 0.3}
    asked |= {"classes": ("a", "b/c", "")} if task == "multiclass" else {"costs": COSTS} if task == "binary" else {}

    def without(day: int) -> dict[str, float]:
        return evaluate(target[of_day != day], scores[of_day != day], **asked)

    for metric, value in evaluate(target, scores, **asked).items():
        found = daily_metric(metric, target, scores, of_day, **asked)
        others = [without(day)[metric] for day in range(days)]
        if metric.startswith("macro_"):
            # A mean over fewer classes is another metric: no evidence about this one.
            known = set(target[target >= 0])
            others = [
                value if known == set(target[(target >= 0) & (of_day != day)]) else np.nan
                for day, value in enumerate(others)
            ]
        np.testing.assert_allclose(found.value, value, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(found.without, others, rtol=1e-6, atol=1e-12)


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
