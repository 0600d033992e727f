"""Probabilities of the generator are calibrated, and outcomes are known when it says that they are."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from loan_world import World, days_of, loans
from numpy.typing import NDArray

from tallywright.metrics import calibration_error, roc_auc

YEAR = days_of(date(2023, 1, 1), 122, step=3)
WORLD = World()
Arrays = tuple[NDArray[np.float64], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def year() -> Arrays:
    """True probabilities and outcomes of every third day of a year."""
    found = [WORLD.outcomes(day) for day in YEAR]
    chances, defaults = ([getattr(one, name) for one in found] for name in ("probability", "defaulted"))
    return np.concatenate(chances), np.concatenate(defaults)


def test_the_true_probabilities_are_calibrated(year: Arrays) -> None:
    chance, defaulted = year
    assert 0.11 < defaulted.mean() < 0.14
    order = np.argsort(chance)
    for tenth in np.array_split(order, 10):
        expected, spread = chance[tenth].sum(), np.sqrt((chance[tenth] * (1 - chance[tenth])).sum())
        assert abs(defaulted[tenth].sum() - expected) < 3 * spread
    assert calibration_error(defaulted, chance) < 0.01


def test_the_best_possible_auc_follows_from_the_probabilities(year: Arrays) -> None:
    """P(a default stands above a good loan), from the probabilities alone, is what their outcomes show."""
    chance, defaulted = year
    ordered = np.sort(chance)
    good_below = np.cumsum(1 - ordered) - (1 - ordered)
    expected = (ordered * good_below).sum() / (ordered.sum() * (1 - ordered).sum())
    assert 0.79 < expected < 0.82
    assert abs(roc_auc(defaulted, chance) - expected) < 0.008


def test_nothing_visible_adds_to_the_truth() -> None:
    """Among loans of one probability no column tells those that default."""
    days = days_of(date(2023, 3, 1), 40)
    columns, outcomes = [WORLD.columns(day) for day in days], [WORLD.outcomes(day) for day in days]
    left = np.concatenate([one.defaulted - one.probability for one in outcomes])
    for name in ("income", "amount", "utilisation", "obligations", "term_months", "delinquencies_24m"):
        values = np.concatenate([one[name] for one in columns])
        there = ~np.isnan(values)
        assert abs(np.corrcoef(values[there], left[there])[0, 1]) < 4 / np.sqrt(there.sum()), name


def test_days_differ_by_more_than_chance() -> None:
    """So the unit of evidence is the day."""
    effects = [
        np.log(one.probability / (1 - one.probability)).mean()
        for one in map(WORLD.outcomes, days_of(date(2023, 5, 1), 60))
    ]
    assert np.std(effects) > 0.1


@pytest.mark.parametrize("day", days_of(date(2023, 11, 30), 4, step=40), ids=str)
def test_outcomes_are_known_when_they_must_be(day: date) -> None:
    outcomes = WORLD.outcomes(day)
    paid_out = ~np.isnat(outcomes.reported_at)
    age = (outcomes.reported_at.astype("datetime64[D]") - np.datetime64(day)).astype(int)
    bad, good = age[paid_out & outcomes.defaulted], age[paid_out & ~outcomes.defaulted]
    assert set(bad) <= {30 * instalment + lag for instalment in (3, 4, 5, 6) for lag in (0, 1, 2)}
    assert set(good) == {180, 181, 182}
    assert age[paid_out].max() < loans.LABEL_DAYS == 183
    assert (outcomes.missed[outcomes.defaulted] == 3).all()
    assert (outcomes.missed[~outcomes.defaulted] < 3).all()
    assert 0.95 < paid_out.mean() < 0.99


def test_of_young_dates_only_defaults_are_known() -> None:
    outcomes, day = WORLD.outcomes(date(2024, 1, 5)), np.datetime64("2024-05-20")
    known = outcomes.reported_at < day
    assert known.sum() > 30
    assert outcomes.defaulted[known].all()


def test_each_loan_is_reported_once_on_the_day_that_its_file_names() -> None:
    day = date(2023, 6, 1)
    outcomes, seen = WORLD.outcomes(day), {}
    for age in range(85, 190):
        reported = day + timedelta(days=age)
        for row in WORLD.repayments(reported).to_pylist():
            assert row["reported_at"].date() == reported
            if row["application_id"].startswith("L20230601"):
                assert row["application_id"] not in seen
                seen[row["application_id"]] = row
    there = ~np.isnat(outcomes.reported_at)
    assert seen.keys() == set(outcomes.application_id[there].tolist())
    for name, defaulted in zip(outcomes.application_id[there].tolist(), outcomes.defaulted[there], strict=True):
        assert seen[name]["status"] == ("defaulted" if defaulted else "performing")
