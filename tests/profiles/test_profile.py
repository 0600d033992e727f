"""Profiles are sums of integers: exact, equal however the rows are split, and with the meaning they promise."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tallywright.profiles import accumulate
from tallywright.profiles.accumulate import Accumulator, profile_rows
from tallywright.profiles.profile import SCORE, SCORE_LIMIT, VALUE_LIMIT, Profile, ProfileDefinition, define


@dataclass(frozen=True)
class Rows:
    numeric: NDArray[np.float32]
    categorical: NDArray[np.int64]
    scores: NDArray[np.float32]

    def take(self, rows: NDArray[np.intp]) -> Rows:
        return Rows(self.numeric[rows], self.categorical[rows], self.scores[rows])


def make_rows(seed: int, count: int) -> Rows:
    rng = np.random.default_rng(seed)
    numeric = np.stack([rng.normal(size=count), rng.integers(0, 3, count), rng.lognormal(0, 3, count)], axis=1)
    numeric = numeric.astype(np.float32)
    numeric[rng.random((count, 3)) < 0.05] = np.nan
    special = np.array([np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38], dtype=np.float32)
    places = rng.random(count) < 0.05
    numeric[places, 0] = rng.choice(special, places.sum())
    categorical = rng.integers(0, [5, 4], (count, 2), dtype=np.int64)
    scores = rng.random(count, dtype=np.float32)
    return Rows(numeric, categorical, scores)


@pytest.fixture(scope="module")
def definition() -> ProfileDefinition:
    rng = np.random.default_rng(0)
    numeric = {"a": rng.normal(size=3000), "b": rng.integers(0, 3, 3000), "c": rng.lognormal(0, 3, 3000)}
    return define(numeric, {"k": ("x", "y", "z"), "m": ("u", "v")}, rng.random(3000), 10)


def _profile(definition: ProfileDefinition, rows: Rows) -> Profile:
    return profile_rows(definition, rows.numeric, rows.categorical, rows.scores)


@given(st.integers(0, 1000), st.lists(st.integers(0, 400), max_size=6), st.randoms(use_true_random=False))
def test_any_split_and_order_gives_the_same_profile(definition, seed, cuts, random) -> None:
    rows = make_rows(seed, 400)
    order = np.arange(400)
    random.shuffle(order)
    parts = [rows.take(part) for part in np.split(order, sorted(cuts))]
    whole = _profile(definition, rows)
    profiles = [_profile(definition, part) for part in parts]
    random.shuffle(profiles)
    assert reduce(add, profiles) == whole
    batched = Accumulator(definition)
    for part in parts:
        batched.update(part.numeric, part.categorical, part.scores)
    assert batched.profile() == whole
    assert Profile.from_json(whole.to_json()) == whole
    assert Profile.from_json(whole.to_json()).to_json() == whole.to_json()


@given(st.tuples(*[st.integers(0, 100)] * 3))
def test_the_sum_is_associative_and_commutative_with_a_zero(definition, seeds) -> None:
    a, b, c = (_profile(definition, make_rows(seed, 50)) for seed in seeds)
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Profile.empty(definition) == a == Profile.empty(definition) + a


@pytest.mark.parametrize("chunk", [1, 7, 2**14])
def test_the_size_of_a_pass_has_no_influence(definition, monkeypatch, chunk: int) -> None:
    rows = make_rows(3, 3000)
    whole = _profile(definition, rows)
    monkeypatch.setattr(accumulate, "_CHUNK", chunk)
    assert _profile(definition, rows) == whole


@pytest.mark.parametrize("band", [1, 2, 3])
def test_the_columns_counted_at_once_have_no_influence(definition, monkeypatch, band: int) -> None:
    rows = make_rows(9, 300)
    whole = _profile(definition, rows)
    monkeypatch.setattr(accumulate, "_BAND", band)
    assert _profile(definition, rows) == whole


def test_column_major_and_row_major_matrices_count_the_same(definition) -> None:
    rows = make_rows(4, 500)
    turned = Rows(np.asfortranarray(rows.numeric), np.asfortranarray(rows.categorical), rows.scores)
    assert _profile(definition, turned) == _profile(definition, rows)


def test_counts_equal_a_plain_recount(definition) -> None:
    rows = make_rows(5, 5000)
    profile = _profile(definition, rows)
    for index, (name, edges) in enumerate(definition.numeric.items()):
        values = rows.numeric[:, index]
        held = values[~np.isnan(values)]
        cells = np.searchsorted(np.array(edges, np.float32), held, side="right")
        np.testing.assert_array_equal(profile.counts(name), np.bincount(cells, minlength=len(edges) + 1))
        assert profile.null_share(name) == np.isnan(values).mean()
        assert profile.column(name).infinite == np.isinf(values).sum()
    for index, (name, values) in enumerate(definition.categorical.items()):
        expected = np.bincount(rows.categorical[:, index], minlength=len(values) + 2)
        assert profile.column(name).nulls == expected[0]
        assert profile.unseen_share(name) == expected[1] / 5000
        np.testing.assert_array_equal(profile.counts(name), [*expected[2:], expected[1]])
    assert profile.rows == 5000


def test_sums_are_the_exact_sums_of_the_rounded_values(definition) -> None:
    rows = make_rows(6, 2000)
    profile = _profile(definition, rows)
    for index, name in enumerate(definition.numeric):
        finite = rows.numeric[np.isfinite(rows.numeric[:, index]), index]
        unit = Fraction(2) ** definition.bits[name]
        exact = [max(-VALUE_LIMIT, min(VALUE_LIMIT, round(Fraction(float(value)) * unit))) for value in finite]
        assert profile.column(name).total == sum(exact)
        assert profile.column(name).total_squares == sum(value * value for value in exact)
        assert profile.column(name).finite == finite.size
        assert (profile.column(name).minimum, profile.column(name).maximum) == (finite.min(), finite.max())
    assert profile.mean("b") == pytest.approx(np.nanmean(rows.numeric[:, 1]), abs=1e-6)
    assert profile.column("b").variance == pytest.approx(np.nanvar(rows.numeric[:, 1].astype(float)), rel=1e-5)


def test_scores_are_summed_per_cell(definition) -> None:
    rows = make_rows(7, 4000)
    profile = _profile(definition, rows)
    codes = rows.categorical[:, 0]
    expected = [rows.scores[codes == code].mean() for code in (2, 3, 4, 1)]
    np.testing.assert_allclose(profile.cell_mean_scores("k"), expected, atol=1e-6)
    for name in definition.numeric:
        column = profile.column(name)
        assert sum(column.score_sums) + column.null_score_sum == profile.score.total
    assert profile.mean(SCORE) == pytest.approx(rows.scores.mean(), abs=1e-6)


def test_a_value_that_does_not_fit_is_clamped_and_counted() -> None:
    definition = define({"a": np.array([1.0])}, {}, np.array([0.5]), 4)
    numeric = np.array([[1e30], [-1e30], [1.0], [np.inf], [np.nan]], dtype=np.float32)
    profile = profile_rows(
        definition, numeric, np.zeros((5, 0), np.int64), np.array([1e9, 0, 0, 0, np.nan], np.float32)
    )
    column = profile.column("a")
    assert (column.clamped, column.infinite, column.nulls) == (2, 1, 1)
    assert column.total == 2 ** definition.bits["a"]
    assert (profile.score.clamped, profile.score.nulls, profile.score.total) == (1, 1, SCORE_LIMIT)


def test_negative_zero_leaves_no_trace() -> None:
    definition = define({"a": np.array([-0.0, 1.0])}, {}, np.array([0.5]), 4)
    assert definition == define({"a": np.array([0.0, 1.0])}, {}, np.array([0.5]), 4)
    both = [np.array([[0.0], [-0.0]], np.float32), np.array([[-0.0], [0.0]], np.float32)]
    texts = {
        profile_rows(definition, numeric, np.zeros((2, 0), np.int64), np.array([-0.0, 0.0], np.float32)).to_json()
        for numeric in both
    }
    assert len(texts) == 1
    assert "-0.0" not in texts.pop()


def test_extremes_fill_the_packed_sums_without_loss() -> None:
    definition = define({"a": np.array([1.0])}, {"k": ("x",)}, np.array([0.5]), 4)
    rows = 3 * 2**14 + 5
    scores = np.full(rows, SCORE_LIMIT / 2.0**definition.score_bits, dtype=np.float32)
    for sign in (1, -1):
        profile = profile_rows(definition, np.full((rows, 1), 9e9, np.float32), np.full((rows, 1), 2), sign * scores)
        assert profile.column("k").counts == (rows,)
        assert profile.column("k").score_sums == (sign * SCORE_LIMIT * rows,)
        assert profile.column("a").total_squares == VALUE_LIMIT**2 * rows


def test_profiles_of_other_definitions_do_not_add(definition) -> None:
    other = define({"a": np.array([1.0])}, {}, np.array([0.5]), 4)
    with pytest.raises(ValueError, match="different definitions"):
        Profile.empty(definition) + Profile.empty(other)


def test_rows_without_a_value_have_their_scores_in_a_sum_of_their_own(definition) -> None:
    rows = make_rows(8, 4000)
    rows.scores[::9] = np.nan
    profile = _profile(definition, rows)
    units = np.rint(np.nan_to_num(rows.scores) * 2.0**definition.score_bits).astype(np.int64)
    for index, name in enumerate(definition.numeric):
        null = np.isnan(rows.numeric[:, index])
        assert (profile.column(name).nulls, profile.column(name).null_score_sum) == (null.sum(), units[null].sum())
        cells = np.searchsorted(
            np.array(definition.numeric[name], np.float32), rows.numeric[~null, index], side="right"
        )
        expected = [units[~null][cells == cell].sum() for cell in range(len(profile.column(name).counts))]
        assert list(profile.column(name).score_sums) == expected
    assert (profile.score.nulls, profile.score.null_score_sum) == (np.isnan(rows.scores).sum(), 0)


def test_only_nulls_have_no_bounds(definition) -> None:
    empty = Rows(np.full((5, 3), np.nan, np.float32), np.zeros((5, 2), np.int64), np.full(5, np.nan, np.float32))
    profile = _profile(definition, empty)
    for column in (profile.score, *(profile.column(name) for name in definition.numeric)):
        assert (column.nulls, column.minimum, column.maximum, column.total, sum(column.counts)) == (5, None, None, 0, 0)
