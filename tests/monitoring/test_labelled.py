"""Joining labels to scores without pandas gives what Arrow's own join gives."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallywright.monitoring import labelled
from tallywright.monitoring.labelled import _joined, _joined_by_arrow

KEYS = st.tuples(st.sampled_from(["a", "b", "ü", "", "a/b"]), st.integers(-2, 2))


def table(rows: list[tuple[str, int]], values: list[int | None], name: str) -> pa.Table:
    columns = {
        "text": pa.array([text for text, _ in rows], pa.string()),
        "number": pa.array([number for _, number in rows], pa.int64()),
        name: pa.array(values, pa.int64()),
    }
    return pa.table(columns)


@given(
    st.lists(KEYS, unique=True, max_size=12),
    st.dictionaries(KEYS, st.none() | st.integers(0, 9), max_size=12),
)
def test_the_join_by_hashes_is_arrows_join(left_keys, right) -> None:
    left = table(left_keys, list(range(len(left_keys))), "score")
    other = table(list(right), list(right.values()), "label")
    by = [("text", "ascending"), ("number", "ascending")]
    found = _joined(left, other, ["text", "number"])
    assert found.column("score").to_pylist() == left.column("score").to_pylist()
    assert found.sort_by(by).to_pylist() == _joined_by_arrow(left, other, ["text", "number"]).sort_by(by).to_pylist()


@pytest.mark.parametrize("equal", [True, False])
def test_equal_hashes_are_no_equal_keys(monkeypatch: pytest.MonkeyPatch, equal: bool) -> None:  # noqa: FBT001
    """Every key has one hash here; of several on the right, Arrow's join decides."""
    hashes = labelled.row_hashes
    monkeypatch.setattr(labelled, "row_hashes", lambda rows, key: hashes(rows, key) * 0)
    left = table([("a", 1), ("b", 1)], [1, 2], "score")
    right = table([("a", 1)] if equal else [("c", 1), ("b", 1)], [7] if equal else [8, 9], "label")
    found = _joined(left, right, ["text", "number"]).sort_by("score")
    assert found.column("label").to_pylist() == ([7, None] if equal else [None, 9])
