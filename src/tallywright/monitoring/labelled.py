"""The scored rows of a day with their labels, as somebody who asked at the end of another day would have seen them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.errors import InputError

if TYPE_CHECKING:
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec

STATUS: Final = "label_status"
KNOWN: Final = "known"
NEVER: Final = "never"
MISSING: Final = "missing"
_PROVENANCE: Final = ("model_version", "role")


def end_of_day(spec: ModelSpec, day: date) -> datetime:
    """The instant (UTC) at which a business day is over in the schedule's time zone."""
    zone = ZoneInfo(spec.schedule.timezone)
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=zone).astimezone(UTC)


def labelled_rows(lake: Lake, spec: ModelSpec, day: date, as_of: date) -> pa.Table:
    """Every scored row of the day, in the order of the key, with what was known of its label by the end of `as_of`.

    Columns: the key, outputs, model version and role, the slices, the target (null unless known) and `label_status`:
    `known`, `never` (there will not be one), or `missing` (not yet, or lost).

    Raises:
        InputError: The day has no scored rows.
    """
    table = spec.table("scores")
    scores = lake.read(table, where={"score_date": day}) if lake.find(table) is not None else pa.table({})
    if not scores.num_rows:
        raise InputError(
            f"{table} has no rows of {day}, so nothing can be realised",
            remedy=f"tally score {spec.name} --date {day}",
        )
    key = list(spec.data.key)
    outputs = [name for name in ("prediction", "probability") if name in scores.column_names]
    rows = scores.select([*key, *outputs, *_PROVENANCE])
    slices = [name for name in spec.training.slices if name not in rows.column_names]
    if slices:
        features = lake.read(spec.table("features"), where={"score_date": day}, columns=[*key, *slices])
        rows = _joined(rows, features, key)
    rows = _joined(rows, _labels(lake, spec, day, as_of), key)
    status = pc.fill_null(rows.column(STATUS), MISSING)
    rows = rows.set_column(rows.column_names.index(STATUS), STATUS, status)
    return rows.sort_by([(name, "ascending") for name in key])


def _labels(lake: Lake, spec: ModelSpec, day: date, as_of: date) -> pa.Table:
    """The day's labels that had arrived; the target is null where there will never be one."""
    columns = [*spec.data.key, spec.training.target, "label_time", STATUS]
    if lake.find(spec.table("labels")) is None:
        return pa.table({name: pa.array([], pa.string()) for name in columns if name != "label_time"})
    labels = lake.read(spec.table("labels"), where={"score_date": day}, columns=columns)
    label_time = labels.column("label_time")
    arrived = pc.less(label_time, pa.scalar(end_of_day(spec, as_of), label_time.type))
    # A row that can never get a label may have no time at which that became known.
    never = pc.and_(pc.equal(labels.column(STATUS), NEVER), pc.is_null(label_time))
    return labels.filter(pc.or_(pc.fill_null(arrived, fill_value=False), never)).drop_columns(["label_time"])


def _joined(left: pa.Table, right: pa.Table, key: list[str]) -> pa.Table:
    schema = pa.schema([left.schema.field(field.name) if field.name in key else field for field in right.schema])
    return left.join(right.cast(schema), keys=key, join_type="left outer")
