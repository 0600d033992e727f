"""Statistics of parts are valid for every type and never exclude a row that is there."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallywright.data.delta.files import delta_statistics
from tallywright.data.delta.rows import MAX_TEXT

INSTANTS = st.integers(-(2**50), 2**50).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)


def statistics(table: pa.Table, folder: Path, **options) -> dict:
    pq.write_table(table, folder / "part.parquet", store_schema=False, row_group_size=3)
    text = delta_statistics(pq.read_metadata(folder / "part.parquet"), table.schema, **options)
    return json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))


def test_every_type_gives_valid_json(tmp_path) -> None:
    table = pa.table(
        {
            "int8": pa.array([1, None, -3], pa.int8()),
            "int64": pa.array([2**62, -(2**62), 0]),
            "float": pa.array([1.5, float("nan"), float("inf")], pa.float32()),
            "finite": pa.array([0.25, 0.5, 1.0], pa.float32()),
            "bool": pa.array([True, False, None]),
            "text": pa.array(["b", "ä", None]),
            "long": pa.array(["x" * (MAX_TEXT + 1), "a", "b"]),
            "bytes": pa.array([b"\xff", b"", None]),
            "date": pa.array([date(1600, 1, 1), date(9999, 12, 31), None]),
            "instant": pa.array([datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
            "decimal": pa.array([Decimal("1.10"), Decimal("2.20"), None]),
            "list": pa.array([[1.0, 2.0], [], None], pa.list_(pa.float32())),
            "none": pa.nulls(3, pa.int32()),
        }
    )
    found = statistics(table, tmp_path, finite=["finite"])
    assert found["numRecords"] == 3
    assert found["minValues"] == {
        "int8": -3,
        "int64": -(2**62),
        "finite": 0.25,
        "text": "b",
        "date": "1600-01-01",
        "instant": "2024-01-01T00:00:00.000Z",
    }
    assert found["maxValues"] == found["minValues"] | {
        "int8": 1,
        "int64": 2**62,
        "finite": 1.0,
        "text": "ä",
        "date": "9999-12-31",
        "instant": "2024-01-01T00:00:00.001Z",
    }
    assert found["nullCount"]["none"] == 3
    assert "list" not in found["nullCount"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(INSTANTS, min_size=1, max_size=8))
def test_instants_lie_within_their_bounds(tmp_path, instants) -> None:
    found = statistics(pa.table({"t": pa.array(instants, pa.timestamp("us", "UTC"))}), tmp_path)
    low, high = (datetime.fromisoformat(found[side]["t"]) for side in ("minValues", "maxValues"))
    assert low <= min(instants)
    assert max(instants) <= high
    assert max(min(instants) - low, high - max(instants)) < timedelta(milliseconds=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.text(max_size=80), min_size=1, max_size=8))
def test_texts_lie_within_their_bounds(tmp_path, texts) -> None:
    encodable = [text if text is None else text.encode("utf-8", "replace").decode() for text in texts]
    found = statistics(pa.table({"s": pa.array(encodable, pa.string())}), tmp_path)
    assert found["nullCount"]["s"] == encodable.count(None)
    if "s" in found["minValues"]:
        known = [text.encode() for text in encodable if text is not None]
        assert found["minValues"]["s"].encode() <= min(known)
        assert max(known) <= found["maxValues"]["s"].encode()


def test_the_last_instant_has_no_bound(tmp_path) -> None:
    last = pa.table({"at": pa.array([datetime.max.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))})
    found = statistics(last, tmp_path)
    assert (found["maxValues"], found["nullCount"]) == ({}, {"at": 0})
