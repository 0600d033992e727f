"""Counts by the cells of several columns together add up to each column's own, exactly."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.profiles.cells import JointCounts, groups_of, weights_of
from tallywright.profiles.profile import SCORE_LIMIT

sizes_of_columns = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@given(sizes_of_columns, st.lists(st.integers(0, 300), max_size=4), st.integers(0, 2**32 - 1))
def test_every_column_has_the_counts_and_sums_of_a_plain_count(sizes, calls, seed) -> None:
    rng = np.random.default_rng(seed)
    joint = JointCounts(sizes)
    counts, sums = ([np.zeros(size, dtype=np.int64) for size in sizes] for _ in range(2))
    for rows in calls:
        cells = [rng.integers(0, size, rows) for size in sizes]
        scores = rng.integers(-SCORE_LIMIT, SCORE_LIMIT, rows, endpoint=True)
        joint.add(cells, weights_of(scores))
        for place, own in enumerate(cells):
            np.add.at(counts[place], own, 1)
            np.add.at(sums[place], own, scores)
    assert list(joint.columns()) == [(a.tolist(), b.tolist()) for a, b in zip(counts, sums, strict=True)]


@pytest.mark.parametrize("score", [SCORE_LIMIT, -SCORE_LIMIT, 1 - SCORE_LIMIT])
def test_the_largest_scores_of_the_most_rows_are_summed_without_loss(score: int) -> None:
    rows = 2**14
    joint = JointCounts([2, 3])
    for _ in range(3):
        joint.add([np.ones(rows, np.int64), np.full(rows, 2)], weights_of(np.full(rows, score, dtype=np.float32)))
    assert list(joint.columns()) == [
        ([0, 3 * rows], [0, 3 * rows * score]),
        ([0, 0, 3 * rows], [0, 0, 3 * rows * score]),
    ]


@given(st.lists(st.integers(1, 6000), max_size=30))
def test_groups_are_neighbours_and_small(sizes: list[int]) -> None:
    groups = groups_of(sizes)
    assert [place for group in groups for place in group] == list(range(len(sizes)))
    assert all(len(group) == 1 or prod(sizes[place] for place in group) <= 4096 for group in groups)


def test_a_category_of_very_many_values_is_counted_alone() -> None:
    assert groups_of([13, 70_000, 6, 6]) == [range(1), range(1, 2), range(2, 4)]
    joint = JointCounts([70_000])
    joint.add([np.array([69_999, 5, 69_999])], weights_of(np.array([1, 2, 3])))
    ((counts, sums),) = joint.columns()
    assert (counts[69_999], sums[69_999], counts[5], sums[5], sum(counts)) == (2, 4, 1, 2, 3)
