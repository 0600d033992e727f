"""The look-up table must give exactly what a binary search gives: a profile may not depend on which one counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.profiles.cells import CellLookup

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
