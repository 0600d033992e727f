"""Every line of a set of CSV files is a row, an unreadable row with its reason, or refused by file and line."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from csv_sets import COLUMNS, CsvSet, csv_set
from hypothesis import given, settings
from hypothesis import strategies as st

from tallywright.data.embedded_sql import connect
from tallywright.data.etl.sources import stage
from tallywright.data.etl.staged import StagedDigests
from tallywright.data.raw.files import locate
from tallywright.data.raw.typed import LINE_BITS, reason_column
from tallywright.errors import InputError
from tallywright.spec.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

USED = frozenset({"select", "id", "day", "amount", "kind", "from", "orders"})


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """What casts texts, as a reading has one for all sources."""
    with connect() as opened:
        yield opened


def account(folder: Path, made: CsvSet, connection: duckdb.DuckDBPyConnection) -> str:
    """Stages a set and compares what came of it; returns how it ended."""
    source = Source.model_validate(made.source)
    located = locate("orders", source, folder)
    if made.is_refused:
        with pytest.raises(InputError) as caught:
            stage("orders", source, located, USED, StagedDigests(folder / "work", folder / "cache"), connection)
        assert made.allows(caught.value.found), (caught.value.found, made)
        assert not list((folder / "work").iterdir())
        return "refused"
    path, found, _ = stage(
        "orders", source, located, USED, StagedDigests(folder / "work", folder / "cache"), connection
    )
    rows, reason = pq.read_table(path).to_pylist(), reason_column(found.columns)
    for place, file in enumerate(made.files):
        mine = [row for row in rows if row["source_row"] >> LINE_BITS == place]
        lines = [row["source_row"] & ((1 << LINE_BITS) - 1) for row in mine]
        good = [(line, row) for line, row in zip(lines, mine, strict=True) if row[reason] is None]
        assert [(line, {name: row.get(name) for name in COLUMNS}) for line, row in good] == [
            (line, {name: cells.get(name) for name in COLUMNS}) for line, cells in file.rows
        ], file
        bad = [(line, row[reason]) for line, row in zip(lines, mine, strict=True) if row[reason] is not None]
        assert sorted(bad) == sorted(file.unreadable), file
        assert (found.rows[place], found.unreadable[place]) == (len(file.rows) + len(bad), len(bad)), file
    return "read"


def of(seed: int, connection: duckdb.DuckDBPyConnection) -> str:
    with TemporaryDirectory() as folder:
        return account(Path(folder), csv_set(Random(seed), Path(folder)), connection)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200)
def test_every_line_is_accounted_for(connection: duckdb.DuckDBPyConnection, seed: int) -> None:
    of(seed, connection)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=10_000)
def test_every_line_of_many_sets_is_accounted_for(connection: duckdb.DuckDBPyConnection, seed: int) -> None:
    of(seed, connection)
