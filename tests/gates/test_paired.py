from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.gates.paired import Resampling, paired_gain, statistic

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=30).filter(
    lambda rows: any(y and w for y, _, w in rows) and any(not y and w for y, _, w in rows)
)


def naive_auc(target, scores, weights):
    pairs = wins = 0.0
    for y, s, w in zip(target, scores, weights, strict=True):
        for other_y, other_s, other_w in zip(target, scores, weights, strict=True):
            if y == 1 and other_y == 0:
                pairs += w * other_w
                wins += w * other_w * (1.0 if s > other_s else 0.5 if s == other_s else 0.0)
    return wins / pairs


@given(ROWS)
def test_weighted_auc_is_the_share_of_pairs_in_order(rows):
    target, scores, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = statistic("roc_auc", target, scores / 6)(weights[None, :])
    assert found[0] == pytest.approx(naive_auc(target, scores, weights))


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "brier", "accuracy", "rmse"])
def test_a_weight_is_a_repetition(metric):
    generator = np.random.default_rng(1)
    target = generator.integers(0, 2, 50).astype(float)
    scores = generator.uniform(0.01, 0.99, 50)
    times = generator.integers(0, 4, 50)
    weighted = statistic(metric, target, scores)(times[None, :].astype(float))[0]
    repeated = statistic(metric, np.repeat(target, times), np.repeat(scores, times))(np.ones((1, times.sum())))[0]
    assert weighted == pytest.approx(repeated)


def sample(rows=2000, noise=0.6, seed=3):
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=rows)
    target = (generator.uniform(size=rows) < 1 / (1 + np.exp(-2 * truth))).astype(float)

    def scores(spread):
        return 1 / (1 + np.exp(-(truth + generator.normal(scale=spread, size=rows))))

    return target, scores(0.1), scores(noise), np.arange(rows) * 20 // rows


def gain(target, candidate, champion, how, metric="roc_auc"):
    higher = metric == "roc_auc"
    return paired_gain(
        statistic(metric, target, candidate), statistic(metric, target, champion), len(target), how, higher=higher
    )


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_clearly_better_candidate_is_seen_and_so_is_a_worse_one(metric):
    target, good, bad, days = sample(noise=2.0)
    how = Resampling(300, 0.95, "seed", days)
    better, worse = gain(target, good, bad, how, metric), gain(target, bad, good, how, metric)
    assert better.lower > 0
    assert worse.upper < 0
    assert better.lower < better.gain < better.upper


def test_equal_models_gain_nothing():
    target, good, _, days = sample()
    found = gain(target, good, good, Resampling(200, 0.95, "seed", days))
    assert (found.gain, found.lower, found.upper) == (0, 0, 0)


def test_same_seed_same_bounds_another_seed_others():
    target, good, bad, _ = sample()
    one, again, other = (gain(target, good, bad, Resampling(200, 0.95, seed)) for seed in ("a", "a", "b"))
    assert (one.lower, one.upper) == (again.lower, again.upper)
    assert one.lower != other.lower


def test_days_are_resampled_whole_where_there_are_enough():
    days = np.repeat(np.arange(12), 5)
    how = Resampling(50, 0.95, "seed", days)
    assert how.unit == "day"
    for weights in how.weights(60):
        by_day = weights.reshape(len(weights), 12, 5)
        assert (by_day == by_day[:, :, :1]).all()
        assert (weights.sum(axis=1) == 60).all()
    assert Resampling(50, 0.95, "seed", days % 3).unit == "row"


def test_replicates_are_the_same_in_any_chunking(monkeypatch):
    how = Resampling(40, 0.95, "seed")
    whole = np.concatenate(list(how.weights(30)))
    monkeypatch.setattr("tallywright.gates.paired._CHUNK_CELLS", 100)
    parts = list(how.weights(30))
    assert len(parts) > 1
    assert (np.concatenate(parts) == whole).all()
    assert (whole.sum(axis=1) == 30).all()


def test_days_that_share_their_luck_give_wider_bounds():
    generator = np.random.default_rng(5)
    days = np.repeat(np.arange(20), 100)
    luck = generator.normal(size=20)[days]
    target = generator.normal(size=2000)
    candidate, champion = target + 0.5 * luck, target + 0.5 * generator.normal(size=2000)
    by_day = gain(target, candidate, champion, Resampling(300, 0.95, "s", days), "rmse")
    by_row = gain(target, candidate, champion, Resampling(300, 0.95, "s"), "rmse")
    assert by_day.upper - by_day.lower > 2 * (by_row.upper - by_row.lower)
