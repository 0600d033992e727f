"""Definitions: quantile cells, a cell a value where there are few, and a digest that sees every difference."""

from __future__ import annotations

import numpy as np

from tallywright.profiles.accumulate import profile_rows
from tallywright.profiles.profile import ProfileDefinition, define


def test_many_values_are_spread_evenly_and_outside_stays_empty() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    definition = define({"a": values}, {}, np.zeros(1), 20)
    profile = profile_rows(
        definition,
        values.astype(np.float32).reshape(-1, 1),
        np.zeros((10_000, 0), np.int64),
        np.zeros(10_000, np.float32),
    )
    counts = profile.counts("a")
    assert (counts[0], counts[-1], counts.sum()) == (0, 0, 10_000)
    assert np.abs(counts[1:-1] - 500).max() <= 1


def test_few_values_get_a_cell_each() -> None:
    definition = define({"a": np.array([3.0, 1, 1, 2, np.nan, np.inf])}, {}, np.zeros(1), 20)
    assert definition.numeric["a"][:3] == (1.0, 2.0, 3.0)
    assert definition.numeric["a"][3] == np.nextafter(np.float32(3), np.float32(4))


def test_a_column_without_values_has_one_cell() -> None:
    definition = define({"a": np.array([np.nan])}, {}, np.zeros(0), 20)
    assert definition.numeric["a"] == ()
    numeric = np.array([[5.0]], np.float32)
    assert profile_rows(definition, numeric, np.zeros((1, 0), np.int64), np.zeros(1, np.float32)).counts("a") == [1]


def test_the_largest_float_has_no_edge_above_it() -> None:
    largest = float(np.finfo(np.float32).max)
    assert define({"a": np.array([1.0, largest])}, {}, np.zeros(0), 20).numeric["a"] == (1.0, largest)


def test_the_digest_survives_json_and_sees_order() -> None:
    columns = {"a": np.array([1.0, 2]), "b": np.array([0.1, 5])}
    definition = define(columns, {"k": ("x", "y")}, np.array([0.3]), 20)
    assert ProfileDefinition.from_json(definition.to_json()).digest == definition.digest
    turned = define(dict(reversed(columns.items())), {"k": ("x", "y")}, np.array([0.3]), 20)
    other = define(columns, {"k": ("y", "x")}, np.array([0.3]), 20)
    assert len({definition.digest, turned.digest, other.digest}) == 3
