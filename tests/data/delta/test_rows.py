"""Rows become columns and come back as they were, equal to what pyarrow's own conversion makes of them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tallywright.data.delta.rows import rows_of, table_of

SCHEMA = pa.schema(
    [
        ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")),
        ("n", pa.int64()),
        ("small", pa.int32()),
        ("x", pa.float64()),
        ("yes", pa.bool_()),
        ("text", pa.string()),
        ("texts", pa.list_(pa.string())),
    ]
)
ROW = st.fixed_dictionaries(
    {
        "day": st.none() | st.dates(),
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "x": st.none() | st.floats(allow_nan=False),
        "yes": st.none() | st.booleans(),
        "text": st.none() | st.text(),
        "texts": st.none() | st.lists(st.none() | st.text(), max_size=3),
    }
)


@given(st.lists(ROW, max_size=20))
def test_rows_come_back_as_they_were(rows) -> None:
    table = table_of(rows, SCHEMA)
    table.validate(full=True)
    assert table.schema == SCHEMA
    assert table.equals(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert rows_of(table) == rows
    assert rows_of(table.slice(3, 5)) == rows[3:8]


def test_what_a_row_lacks_is_null_and_an_instant_is_utc() -> None:
    east = datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    (row,) = rows_of(table_of([{"at": east, "n": 1, "other": 2}], SCHEMA))
    assert row == dict.fromkeys(SCHEMA.names) | {"at": datetime(2024, 2, 29, 23, tzinfo=UTC), "n": 1}
    (row,) = rows_of(table_of([{"at": datetime(2024, 3, 1), "day": date(2024, 3, 1)}], SCHEMA))  # noqa: DTZ001
    assert row["at"] == datetime(2024, 3, 1, tzinfo=UTC)


SCRIPT = """
import sys
from datetime import UTC, date, datetime
from tallywright.data.delta.table import Declaration, Kind
from tallywright.data.delta.lake import Lake
from tallywright.data.delta.table import Table
from tallywright.records import Record

class Row(Record):
    day: date
    n: int
    x: float | None
    text: str | None
    yes: bool
    texts: tuple[str, ...]
    at: datetime | None

class Spec:
    is_hourly = False

    def table(self, what):
        return f"m__{what}"

table = Table(Declaration("t", Row, ("day",), ("day",), Kind.SLICE, ""), Lake(sys.argv[1]), Spec())
rows = [Row(day=date(2024, 1, n), n=n, x=None, text="ü", yes=True, texts=("a",), at=datetime(2024, 1, n, tzinfo=UTC))
        for n in (1, 2)]
for row in rows:
    table.replace([row])
assert table.replace_if_changed(rows[:1]) is None
assert table.read({"day": rows[1].day, "yes": True, "text": "ü"}) == rows[1:]
assert "pandas" not in sys.modules
"""


def test_a_small_table_needs_no_pandas(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "lake")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
