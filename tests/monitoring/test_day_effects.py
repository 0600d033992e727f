"""Days that differ as days: what the thresholds alone make of them, and what the days of the reference make of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import add

import numpy as np
import pytest

from tallywright.monitoring.drift import compare_profiles
from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.comparison import ReferenceDays
from tallywright.profiles.profile import SCORE, Profile, define
from tallywright.spec.sections import Monitoring

COLUMNS = tuple(f"x{number}" for number in range(6))
ROWS, REFERENCE_DAYS, LIVE_DAYS = 300, 60, 120


@dataclass(frozen=True)
class Season:
    """The columns of each day are shifted by a draw of that day's own."""

    reference: Profile
    learnt: ReferenceDays
    live: list[Profile]
    shifted: list[Profile]


@pytest.fixture(scope="module")
def season() -> Season:
    random = np.random.default_rng(3)
    days = REFERENCE_DAYS + LIVE_DAYS
    values = random.normal(size=(days, 1, len(COLUMNS))) + random.normal(size=(days, ROWS, len(COLUMNS)))
    values = values.astype(np.float32)
    scores = random.random((days, ROWS), dtype=np.float32)
    window = values[:REFERENCE_DAYS].reshape(-1, len(COLUMNS))
    definition = define({name: window[:, i] for i, name in enumerate(COLUMNS)}, {}, scores.ravel(), 20)
    nothing = np.empty((ROWS, 0), dtype=np.int64)

    def profiles(change: float) -> list[Profile]:
        moved = values + np.eye(1, len(COLUMNS), dtype=np.float32) * np.float32(change)
        return [profile_rows(definition, day, nothing, score) for day, score in zip(moved, scores, strict=True)]

    usual = profiles(0)
    first = date(2024, 1, 1)
    reference = {first + timedelta(days=number): profile for number, profile in enumerate(usual[:REFERENCE_DAYS])}
    return Season(
        reduce(add, reference.values()),
        ReferenceDays.learn(reference),
        usual[REFERENCE_DAYS:],
        profiles(6)[REFERENCE_DAYS:],
    )


def violating(season: Season, days: list[Profile], *, learnt: bool = True, quantile: float = 1.0) -> list[set[str]]:
    limits = Monitoring(reference_quantile=quantile)
    bounds = season.learnt if learnt else None
    return [
        {
            one.column
            for one in compare_profiles(season.reference, bounds, day, limits)
            if one.violated and one.column != SCORE
        }
        for day in days
    ]


def test_thresholds_alone_alarm_on_nearly_every_ordinary_day(season) -> None:
    found = violating(season, season.live, learnt=False)
    assert np.mean([bool(columns) for columns in found]) > 0.95


@pytest.mark.parametrize("quantile", [1.0, 0.9])
def test_the_reference_days_keep_the_promised_rate(season, quantile) -> None:
    found = violating(season, season.live, quantile=quantile)
    rate = np.mean([len(columns) / len(COLUMNS) for columns in found])
    promised = max(1 - quantile, 1 / (REFERENCE_DAYS + 1))
    # PSI and the Jensen-Shannon distance rank days nearly alike; sixty days know a quantile only roughly.
    assert promised / 4 < rate < promised * 2


def test_a_real_shift_still_alarms_and_only_where_it_is(season) -> None:
    found = violating(season, season.shifted)
    assert np.mean(["x0" in columns for columns in found]) > 0.95
    assert np.mean([len(columns - {"x0"}) / (len(COLUMNS) - 1) for columns in found]) < 0.05


def test_no_day_of_the_reference_violates() -> None:
    random = np.random.default_rng(4)
    definition = define({"x": random.normal(size=2000)}, {"k": ("a", "b")}, random.random(2000), 8)
    days = {}
    for number in range(8):
        numeric = random.normal(random.normal(0, 2), 1, (300, 1)).astype(np.float32)
        numeric[random.random(300) < random.random() / 2] = np.nan
        codes = random.integers(0, [4], (300, 1), dtype=np.int64) if number % 2 else np.ones((300, 1), dtype=np.int64)
        scores = random.random(300, dtype=np.float32) ** number
        days[date(2024, 1, 1 + number)] = profile_rows(definition, numeric, codes, scores)
    reference, limits = reduce(add, days.values()), Monitoring()
    for learnt, expected in ((None, True), (ReferenceDays.learn(days), False)):
        found = [one.violated for day in days.values() for one in compare_profiles(reference, learnt, day, limits)]
        assert any(found) is expected
