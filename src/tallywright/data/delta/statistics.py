"""Column statistics of a file for its Delta add action, taken from the Parquet footer.

One bad statistic makes a Delta table unreadable for ever, so only what is certainly valid is written: types are looked
up in the table's schema, non-finite numbers and doubtful types are left out (a missing statistic is always right).
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MAX_TEXT = 64
"""Longer texts get no minimum and maximum: they would only bloat the log."""

_MILLISECOND = timedelta(milliseconds=1)


def delta_statistics(footer: pq.FileMetaData, schema: pa.Schema, *, finite: Collection[str] = ()) -> str:
    """The `stats` text of an add action.

    Args:
        footer: Footer of the written part.
        schema: The part's schema as the table has it.
        finite: Floating-point columns known to hold no NaN; other floats get no minimum and maximum, because
            Parquet leaves NaN out of them and Delta readers do not.
    """
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name, index in _flat_columns(footer):
        field = schema.field(name)
        chunks = [footer.row_group(group).column(index).statistics for group in range(footer.num_row_groups)]
        if not chunks or any(chunk is None or not chunk.has_null_count for chunk in chunks):
            continue
        nulls[name] = sum(chunk.null_count for chunk in chunks)
        bounds = [(chunk.min, chunk.max) for chunk in chunks if chunk.has_min_max]
        complete = len(bounds) == len(chunks)
        if complete and (not pa.types.is_floating(field.type) or name in finite):
            low = _render(min(low for low, _ in bounds), field.type, up=False)
            high = _render(max(high for _, high in bounds), field.type, up=True)
            if low is not None and high is not None:
                least[name], most[name] = low, high
    content = {"numRecords": footer.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _flat_columns(footer: pq.FileMetaData) -> Iterator[tuple[str, int]]:
    for index in range(footer.num_columns):
        column = footer.schema.column(index)
        if column.path == column.name:
            yield column.name, index


def _render(value: Any, kind: pa.DataType, *, up: bool) -> int | float | str | None:
    """A bound as JSON, or None where the type (or this value) is better left out."""
    if pa.types.is_timestamp(kind) and isinstance(value, datetime):
        return _milliseconds(value, up=up)
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_floating(kind):
        return float(value) if math.isfinite(value) else None
    if pa.types.is_date32(kind) and isinstance(value, date):
        return value.isoformat()
    if pa.types.is_string(kind) and isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    return None


def _milliseconds(value: datetime, *, up: bool) -> str:
    """A maximum is rounded up, or the file would be skipped for its own last row."""
    instant = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    rest = timedelta(microseconds=instant.microsecond % 1000)
    instant -= rest
    if up and rest:
        instant += _MILLISECOND
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
