"""What a table's log says of a live file, against its path and its footer: readers skip files by what the log says.

A partition value that is not that of the path moves rows to another date, and bounds that do not hold all values hide
rows from whoever filters. Wider bounds are right, if useless, so they are no damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.files import add_actions, bounds_of, flat_columns, rendered
from tallywright.data.delta.rows import rows_of
from tallywright.score_period import period_of_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile

_LONGEST: Final = 32
"""Characters of texts that no writer shortens in its statistics."""


def stated(handle: DeltaTable) -> dict[str, dict[str, Any]]:
    """What the log says of each live file, by its path as the log spells it."""
    return {row["path"]: row for row in rows_of(add_actions(handle))}


def misplaced(path: str, file: DataFile) -> str:
    """Says that the partition values of a file are not those of its path; empty where they are."""
    period = period_of_path(path)
    if period is None or file.day is None or str(period) == str(file.day):
        return ""
    return f"the log has it as of {file.day}, its path is of {period}"


def misstated(action: Mapping[str, Any], footer: pq.FileMetaData) -> str:
    """Says which statistic of a file is not that of its footer; empty where all hold."""
    schema = footer.schema.to_arrow_schema()
    for name, index in flat_columns(footer):
        chunks = [footer.row_group(group).column(index).statistics for group in range(footer.num_row_groups)]
        if not chunks or any(chunk is None for chunk in chunks):
            continue
        nulls = action.get(f"null_count.{name}")
        if nulls is not None and all(chunk.has_null_count for chunk in chunks):
            found = sum(chunk.null_count for chunk in chunks)
            if found != nulls:
                return f"the log says {nulls} nulls of {name}, it has {found}"
        if all(chunk.has_min_max for chunk in chunks):
            kind = schema.field(name).type
            bounds = [bounds_of(chunk, kind) for chunk in chunks]
            least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
            if _is_above(action.get(f"min.{name}"), least, kind) or _is_above(most, action.get(f"max.{name}"), kind):
                return f"the bounds that the log has of {name} do not hold all its values"
    return ""


def _is_above(one: Any, other: Any, kind: pa.DataType) -> bool:
    """True where the first bound is certainly greater; instants are compared in whole milliseconds, as writers cut."""
    low, high = (None if value is None else rendered(value, kind, up=False) for value in (one, other))
    if low is None or high is None:
        return False
    if isinstance(low, str) and isinstance(high, str):
        return max(len(low), len(high)) <= _LONGEST and low > high
    return not isinstance(low, str) and not isinstance(high, str) and low > high
