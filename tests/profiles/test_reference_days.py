"""The days of the reference, each against all others: exact, and a bound that the next ordinary day seldom exceeds."""

from __future__ import annotations

from datetime import date, timedelta
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.comparison import SHAPES, ReferenceDays, Side, distances
from tallywright.profiles.profile import SCORE, Profile, ProfileDefinition, define

FIRST = date(2024, 1, 1)
ROUNDING = 1e-12
shapes_of_days = st.lists(st.tuples(st.integers(0, 60), st.floats(-3, 3), st.floats(0, 1)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def definition() -> ProfileDefinition:
    random = np.random.default_rng(0)
    return define({"a": random.normal(size=2000)}, {"k": ("x", "y", "z")}, random.random(2000), 8)


def make_days(definition: ProfileDefinition, shapes: list[tuple[int, float, float]]) -> dict[date, Profile]:
    """A day for each (rows, shift, share of failed values)."""
    random = np.random.default_rng(len(shapes))
    days = {}
    for number, (rows, shift, failed) in enumerate(shapes):
        numeric = random.normal(shift, 1, (rows, 1)).astype(np.float32)
        numeric[random.random(rows) < failed] = np.nan
        codes = random.integers(2, 5, (rows, 1), dtype=np.int64)
        codes[random.random(rows) < failed] = random.integers(0, 2)
        days[FIRST + timedelta(days=number)] = profile_rows(
            definition, numeric, codes, random.random(rows, dtype=np.float32)
        )
    return days


def recomputed(days: dict[date, Profile], left_out: date, column: str, definition: ProfileDefinition) -> Side:
    others = (profile for day, profile in days.items() if day != left_out)
    return Side.of(reduce(add, others, Profile.empty(definition)), column)


@given(shapes_of_days)
def test_leaving_out_by_subtraction_is_leaving_out(definition, shapes) -> None:
    days = make_days(definition, shapes)
    learnt = ReferenceDays.learn(days, min_rows=0)
    for column in ("a", "k", SCORE):
        expected: dict[str, list[float]] = {}
        for day, profile in days.items():
            others = recomputed(days, day, column, definition)
            both = others.rows and profile.rows
            for metric, value in distances(others, Side.of(profile, column)).items() if both else ():
                expected.setdefault(metric, []).append(value)
        assert learnt.values[column] == {metric: tuple(sorted(values)) for metric, values in expected.items()}


@example(shapes=[(0, 0.0, 0.0), (1, 0.0, 1.0)])
@given(shapes=shapes_of_days)
def test_no_day_of_the_reference_is_beyond_the_bound(definition, shapes) -> None:
    days = make_days(definition, shapes)
    learnt = ReferenceDays.learn(days, min_rows=0)
    whole = reduce(add, days.values())
    for column in ("a", "k", SCORE):
        for profile in days.values():
            for metric, value in distances(Side.of(whole, column), Side.of(profile, column)).items():
                bound = learnt.bound(column, metric, 1.0)
                # A reference of one day, or of one day with values, has no others: its day lies at no distance.
                assert value <= (bound or 0.0) + ROUNDING


@given(shapes_of_days, st.randoms(use_true_random=False))
def test_the_order_of_the_days_is_of_no_account_and_json_keeps_every_bit(definition, shapes, random) -> None:
    days = make_days(definition, shapes)
    shuffled = list(days.items())
    random.shuffle(shuffled)
    learnt = ReferenceDays.learn(days)
    assert ReferenceDays.learn(dict(shuffled)) == learnt
    assert ReferenceDays.from_json(learnt.to_json()) == learnt


def test_a_small_day_stands_among_the_others_only(definition) -> None:
    days = make_days(definition, [(300, 0.0, 0.0), (300, 0.0, 0.0), (3, 3.0, 0.0)])
    every, large = (ReferenceDays.learn(days, min_rows=rows) for rows in (1, 100))
    assert every.bound("a", "psi", 1.0) > 1 > large.bound("a", "psi", 1.0)
    assert large.days == tuple(days)[:2]
    others = recomputed(days, FIRST, "a", definition)
    assert distances(others, Side.of(days[FIRST], "a"))["psi"] in large.values["a"]["psi"]


def test_which_days_are_large_enough_is_decided_when_a_day_is_judged(definition) -> None:
    days = make_days(definition, [(300, 0.0, 0.0), (120, 0.0, 0.0), (40, 1.0, 0.0), (3, 3.0, 0.0)])
    learnt = ReferenceDays.learn(days, min_rows=1000)
    assert learnt.days == ()
    for least, count in ((1, 4), (100, 2), (1000, 0)):
        assert learnt.large(least) == count
        at_training = ReferenceDays.learn(days, min_rows=least)
        for metric in SHAPES:
            assert learnt.bound("a", metric, 0.95, least) == at_training.bound("a", metric, 0.95)


def test_packages_of_before_keep_to_the_days_of_their_training(definition) -> None:
    learnt = ReferenceDays.learn(make_days(definition, [(300, 0.0, 0.0), (300, 0.0, 0.0)]), min_rows=100)
    before = learnt.model_copy(update={"sizes": (), "every": {}})
    assert before.large(1000) == 2
    assert before.bound("a", "psi", 0.95, 1000) == learnt.bound("a", "psi", 0.95)


@pytest.mark.parametrize(("quantile", "rank"), [(1.0, 10), (0.95, 10), (0.9, 9), (0.5, 5), (0.01, 1)])
def test_the_bound_is_the_value_that_this_share_of_the_days_does_not_exceed(quantile, rank) -> None:
    days = tuple(FIRST + timedelta(days=number) for number in range(10))
    values = tuple(float(number) for number in range(1, 11))
    learnt = ReferenceDays(definition_digest="", days=days, values={"a": {"psi": values}})
    assert learnt.bound("a", "psi", quantile) == rank
    assert learnt.bound("a", "js", quantile) is None
    assert learnt.bound("b", "psi", quantile) is None


def test_a_column_has_the_metrics_that_it_can_have(definition) -> None:
    day = make_days(definition, [(50, 0.0, 0.2)])[FIRST]
    found = {column: set(distances(*[Side.of(day, column)] * 2)) for column in ("a", "k", SCORE)}
    assert found == {"a": {*SHAPES, "null_share"}, "k": {*SHAPES, "null_share", "unseen_share"}, SCORE: {*SHAPES}}
    nothing = Side.of(Profile.empty(definition), "a")
    assert distances(Side.of(day, "a"), nothing) == {"null_share": -Side.of(day, "a").share("null_share")}
