"""Parquet files of one source have one type of a column: a wider one that cannot hold all values would change keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tallywright.data.raw.headers import header_of
from tallywright.data.raw.parquet_files import look, require_one_type
from tallywright.errors import InputError

LARGE = 2**53 + 1
NOW = datetime(2025, 1, 3, tzinfo=UTC)


def compared(folder: Path, *columns: pa.Array) -> None:
    schemas = {}
    for place, column in enumerate(columns):
        file = folder / f"{place}.parquet"
        pq.write_table(pa.table({"x": column}), file)
        *_, schemas[file.name] = look("data.sources.orders", file, file.name)
    require_one_type("data.sources.orders", schemas, ("x", "not there"))


@pytest.mark.parametrize(
    "columns",
    [
        (pa.array([LARGE]), pa.array([1.5])),
        (pa.array([1.5]), pa.array(["1.5"])),
        (pa.array([NOW], pa.timestamp("us")), pa.array(["2025-01-03"])),
        (pa.array([NOW], pa.timestamp("us")), pa.array([NOW], pa.timestamp("us", "UTC"))),
        (pa.array([1], pa.uint64()), pa.array([1], pa.int64())),
    ],
)
def test_types_of_which_none_holds_all_values(columns: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x is .* in 1\.parquet, and .* in 0\.parquet"):
        compared(tmp_path, *columns)


@pytest.mark.parametrize(
    "columns",
    [
        (pa.array([1], pa.int32()), pa.array([LARGE])),
        (pa.array(["a"]), pa.array(["a"]).dictionary_encode(), pa.array(["a"], pa.large_string())),
        (pa.array([1.5], pa.float32()), pa.array([1.5])),
        (pa.array([NOW], pa.timestamp("ms")), pa.array([NOW], pa.timestamp("us"))),
    ],
)
def test_a_wider_type_that_holds_them_all(columns: tuple[Any, ...], tmp_path: Path) -> None:
    compared(tmp_path, *columns)


def test_a_file_without_columns() -> None:
    with pytest.raises(InputError, match="has no columns"):
        header_of("raw/a.parquet", 1, [])
