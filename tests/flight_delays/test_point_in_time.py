"""Acceptance: whatever happens after a score moment, the features of the flights asked by then stay the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from flights import Rewriter, run_queries

if TYPE_CHECKING:
    from flights import Queries, Raw

# Score moments in UTC: a storm, an evening whose UTC date is the next day's, both changes of the clocks, the reopening
# after a blizzard, and the last day, which has no weather.
MOMENTS = {
    "storm": (date(2013, 3, 8), datetime(2013, 3, 8, 16, 0, tzinfo=UTC)),
    "evening": (date(2013, 7, 1), datetime(2013, 7, 2, 0, 15, tzinfo=UTC)),
    "clocks_forward": (date(2013, 3, 10), datetime(2013, 3, 10, 13, 30, tzinfo=UTC)),
    "clocks_back": (date(2013, 11, 3), datetime(2013, 11, 3, 18, 0, tzinfo=UTC)),
    "blizzard": (date(2013, 2, 9), datetime(2013, 2, 9, 21, 0, tzinfo=UTC)),
    "last_day": (date(2013, 12, 31), datetime(2013, 12, 31, 19, 45, tzinfo=UTC)),
}

LEAKS = {
    "outcomes_when_due_to_leave": (
        "features",
        "SELECT NULL, NULL, arrived_minute",
        "SELECT NULL, NULL, scheduled_minute",
    ),
    "departures_when_due": ("features", "SELECT NULL, NULL, departed_minute", "SELECT NULL, NULL, scheduled_minute"),
    "weather_of_the_departure": ("features", "observed_minute + 60, observed", "observed_minute - 120, observed"),
    "window_into_the_future": (
        "features",
        "RANGE BETWEEN 1440 PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN 1440 PRECEDING AND 30 FOLLOWING",
    ),
    "own_delay": ("features", "CAST(a.departure_minute AS", "CAST(a.departure_minute + COALESCE(a.dep_delay, 0) AS"),
    "only_those_that_flew": ("contract", "WHEN distance IS NULL", "WHEN dep_time IS NULL OR distance IS NULL"),
    "tail_number": (
        "contract",
        "THEN distance END",
        "THEN CAST(CAST(distance AS INTEGER) + LENGTH(COALESCE(tailnum, '')) AS STRING) END",
    ),
}


@dataclass(frozen=True)
class Worlds:
    """One day in two worlds that differ in nothing that was known at the moment."""

    day: date
    moment: datetime
    real: Raw
    rewritten: Raw

    def same_features(self, queries: Queries) -> bool:
        real = run_queries(queries, self.real, self.day, self.day)
        other = run_queries(queries, self.rewritten, self.day, self.day)
        asked = real.known_by(self.moment)
        assert 50 < len(asked) < real.features.num_rows
        assert real.features != other.features, "nothing was changed that matters later: the comparison proves nothing"
        return asked == other.known_by(self.moment)


def _worlds(raw: Raw, name: str, seed: int) -> Worlds:
    day, moment = MOMENTS[name]
    real = raw.around(day)
    return Worlds(day, moment, real, Rewriter(real, moment, seed).rewritten())


@pytest.fixture(scope="module")
def storm(raw: Raw) -> Worlds:
    return _worlds(raw, "storm", seed=1)


@pytest.mark.parametrize("name", MOMENTS)
def test_features_do_not_know_the_future(raw: Raw, queries: Queries, name: str) -> None:
    assert _worlds(raw, name, seed=2).same_features(queries)


@pytest.mark.parametrize("leak", LEAKS)
def test_the_test_above_finds_a_leak(storm: Worlds, queries: Queries, leak: str) -> None:
    assert not storm.same_features(queries.spoilt(*LEAKS[leak]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 10))])
def test_features_do_not_know_the_future_at_random_moments(raw: Raw, queries: Queries, seed: int) -> None:
    day = date(2013, 1 + seed, 5 + 2 * seed)
    moment = datetime(day.year, day.month, day.day, 12 + seed, 6 * seed, tzinfo=UTC)
    real = raw.around(day)
    assert Worlds(day, moment, real, Rewriter(real, moment, seed).rewritten()).same_features(queries)
