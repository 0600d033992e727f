"""Every way to find cells must give what a binary search gives: a profile may not depend on which one counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.profiles.cells import CellLookup, ColumnCells

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
crowded = st.sampled_from([0.0, -0.0, 1.0, 1.0000001, 1e-38, -1e-38, 1e-45, 3.4e38, -3.4e38, 2.0**-126])


def _edges(values: list[float]) -> tuple[float, ...]:
    return tuple(np.unique(np.array(values, dtype=np.float32) + np.float32(0)).tolist())


@given(st.lists(finite | crowded, max_size=60), st.lists(st.floats(allow_nan=False, width=32), max_size=60))
def test_the_cells_of_any_values_equal_a_binary_search(edges: list[float], values: list[float]) -> None:
    ascending = _edges(edges)
    near = np.array(ascending, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        beside = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)), -near]
    tried = np.concatenate([np.array([*values, -0.0, np.inf, -np.inf], dtype=np.float32), *beside])
    expected = np.searchsorted(near, tried, side="right")
    np.testing.assert_array_equal(CellLookup(ascending)(tried), expected)


@given(st.integers(0, 2**32 - 1), st.integers(2, 100), st.floats(1e-30, 1e30), st.floats(-1e6, 1e6))
def test_quantile_edges_of_any_scale_equal_a_binary_search(seed: int, cells: int, scale: float, shift: float) -> None:
    values = (np.random.default_rng(seed).normal(size=2000) * scale + shift).astype(np.float32)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, cells)).astype(np.float32))
    tried = np.concatenate([values, edges])
    np.testing.assert_array_equal(CellLookup(tuple(edges.tolist()))(tried), np.searchsorted(edges, tried, side="right"))


@pytest.mark.parametrize("edges", [(), (0.0,), (1.0, 2.0)])
def test_few_edges_and_no_values(edges: tuple[float, ...]) -> None:
    lookup = CellLookup(edges)
    assert lookup.cells == len(edges) + 1
    assert lookup(np.zeros(0, dtype=np.float32)).size == 0


def test_a_long_tail_falls_back_to_the_binary_search() -> None:
    edges = (*np.linspace(0, 1, 50, dtype=np.float32).tolist(), 1e30)
    lookup = CellLookup(edges)
    assert lookup._base is None
    np.testing.assert_array_equal(lookup(np.array([0.5, 2e30], dtype=np.float32)), [25, 51])


@given(
    st.lists(st.lists(finite | crowded, max_size=90), min_size=1, max_size=4),
    st.lists(st.floats(width=32) | crowded, max_size=40),
)
def test_the_cells_of_many_columns_equal_a_binary_search_in_each(edges: list[list[float]], values: list[float]) -> None:
    ascending = [_edges(own) for own in edges]
    tried = np.array([*values, -0.0, np.inf, -np.inf, *(edge for own in ascending for edge in own)], dtype=np.float32)
    columns = ColumnCells(ascending, tried.size + 3)
    assert columns.cells == tuple(len(own) + 1 for own in ascending)
    block = np.tile(tried, (len(ascending), 1))
    held = ~np.isnan(tried)
    # Again with fewer rows: what an earlier call left must not show.
    for rows in (tried.size, tried.size // 2):
        cells = columns(block[:, :rows])
        for own, found in zip(ascending, cells, strict=True):
            expected = np.searchsorted(np.array(own, np.float32), tried[:rows], side="right")
            np.testing.assert_array_equal(found[held[:rows]], expected[held[:rows]])
            assert found.max(initial=0) <= len(own)


def test_many_edges_are_looked_up_and_leave_room_for_a_cell_of_nulls() -> None:
    edges = [tuple(map(float, range(count))) for count in (255, 3, 0)]
    columns = ColumnCells(edges, 4)
    cells = columns(np.full((3, 4), 300, dtype=np.float32))
    assert cells[:, 0].tolist() == [255, 3, 0]
    assert np.iinfo(cells.dtype).max >= 256
    assert list(columns._lookups) == [0]


def test_nan_is_looked_up_without_a_word() -> None:
    lookup = CellLookup(tuple(map(float, range(70))))
    values = np.array([np.nan, np.inf, 5.0], dtype=np.float32)
    assert lookup(values)[1:].tolist() == [70, 6]
