"""Texts of CSV files as values of their types: one of which a cast would keep a part alone is none of its type."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tallywright.data.embedded_sql import connect
from tallywright.data.raw.typed import Typing, reason_column


def reason(kind: str, cell: str, *, strict: bool = True) -> str | None:
    """Why a cell is none of a type; None where it is."""
    with connect() as connection:
        typing = Typing(connection, ["x"], {"x": kind}, strict=strict)
        rows = typing.table(pa.table({"x": [cell]}), pa.array([1], pa.int64()))
    [value], [told] = rows["x"].to_pylist(), rows[reason_column(["x"])].to_pylist()
    assert (value is None) == (told is not None)
    return told


CHANGED = [
    ("INTEGER", "1.5", "its value would change"),
    ("BIGINT", "1e-1", "its value would change"),
    ("DOUBLE", "1e400", "its value would change"),
    ("FLOAT", "-1e39", "its value would change"),
    ("INTEGER", "0.99999999999999999999", "its value would change"),
    ("INTEGER", "1e-400", "its value would change"),
    ("BIGINT", "9007199254740992.4", "its value would change"),
    ("BIGINT", "9.007199254740993e15", "its value would change"),
    ("DOUBLE", "1e-400", "its value would change"),
    *(("DATE", cell, "more than its date would be lost") for cell in (
        "2024-01-02 10:00:00", "2024-01-02T00:00:00+05:00", "2024-01-02 00:00+99:99", "infinity")),
    *(("TIMESTAMP", cell, "it is of another zone than UTC, endless, or more than an instant") for cell in (
        "2024-01-02T01:00:00+02:00", "2024-01-02 01:00:00 Europe/Berlin", "2024-01-02 05:00:00 PM",
        "2024-01-02 05:00:00 nowhere", "-infinity", "epoch")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cell", "how"), CHANGED)
def test_a_cell_that_a_cast_would_change(kind: str, cell: str, how: str) -> None:
    article = "an" if kind == "INTEGER" else "a"
    assert reason(kind, cell) == f"x: '{cell}' is not {article} {kind}: {how}"
    if "inf" not in cell:  # no value of Python's, yet DuckDB's
        assert reason(kind, cell, strict=False) is None


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("INTEGER", "1.0"), ("INTEGER", "1e3"), ("BIGINT", "9223372036854775807"), ("DOUBLE", "-inf"),
        ("DOUBLE", "NaN"), ("DOUBLE", "0.1234567890123456789"), ("FLOAT", "0.1"), ("DECIMAL(5,2)", "1.234"),
        ("BOOLEAN", "T"), ("DATE", "2024-01-02 00:00:00"), ("TIMESTAMP", "2024-01-02"),
        ("INTEGER", "1_000"), ("DOUBLE", "0e-400"), ("DATE", "2024-1-2"), ("DATE", "2024/01/02"),
        ("TIMESTAMP", "2024-01-02T01:00:00Z"), ("TIMESTAMP", "2024-01-02 01:00 UTC"),
        ("TIMESTAMP", "2024-01-02 1:00:00+00"), ("TIMESTAMP", "2024/01/02 01:00:00.5 +00:00"),
        ("TIMESTAMP", "2024-01-02 01:00:00.123456789"),
    ],
)  # fmt: skip
def test_a_cell_that_says_the_same_in_other_words(kind: str, cell: str) -> None:
    assert reason(kind, cell) is None


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("INTEGER", "2147483648"), ("DECIMAL(5,2)", "1000"), ("BOOLEAN", "on"), ("DATE", "2025-02-30"), ("DOUBLE", "1,5")],
)
def test_a_cell_of_no_value_of_its_type(kind: str, cell: str) -> None:
    assert (reason(kind, cell) or "").endswith(kind + (": a decimal comma?" if "," in cell else ""))
