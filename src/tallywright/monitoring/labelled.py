"""Joins the scored rows of a day with their labels, as they were known at the end of another day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import values_of
from tallywright.data.delta.rows import keep, rows_of, scalar_of
from tallywright.data.fingerprint import row_hashes
from tallywright.errors import InputError
from tallywright.labels import is_nan
from tallywright.records import Manifest, Role

if TYPE_CHECKING:
    from datetime import date

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.spec.model import ModelSpec

STATUS: Final = "label_status"
KNOWN: Final = "known"
NEVER: Final = "never"
MISSING: Final = "missing"
_PROVENANCE: Final = ("model_version", "role")
_OUTPUTS: Final = ("prediction", "probability", "probabilities")


def labelled_rows(lake: Lake, spec: ModelSpec, day: date, as_of: date) -> pa.Table:
    """Every scored row of the day in the order of the key, with its label as known by the end of `as_of`.

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
    return _labelled(lake, spec, scores, day, as_of)


def standing_tally(lake: Lake, spec: ModelSpec, day: date) -> Manifest | None:
    """The manifest of the day's latest tally, as its row has it; None where there is none."""
    table = spec.table("tallies")
    if lake.find(table) is None:
        return None
    rows = rows_of(lake.read(table, where={"score_date": day}, columns=["generation", "manifest_json"]))
    newest = max(rows, key=lambda row: row["generation"], default=None)
    return Manifest.from_json(newest["manifest_json"]) if newest is not None else None


def labelled_shadows(lake: Lake, spec: ModelSpec, tally: Manifest, as_of: date) -> list[pa.Table]:
    """As `labelled_rows`, the rows of the tally's shadows, a table each; none where no shadow scored."""
    table = spec.table("shadow")
    versions = [one.version for one in tally.roles if one.role is Role.SHADOW and one.rows and not one.note]
    if not versions or lake.find(table) is None:
        return []
    rows = lake.read(table, where={"score_date": tally.score_date})
    found = [keep(rows, {"model_version": version}) for version in sorted(versions)]
    return [_labelled(lake, spec, shadow, tally.score_date, as_of) for shadow in found if shadow.num_rows]


def _labelled(lake: Lake, spec: ModelSpec, scores: pa.Table, day: date, as_of: date) -> pa.Table:
    key = list(spec.data.key)
    outputs = [name for name in _OUTPUTS if name in scores.column_names]
    rows = scores.select([*key, *outputs, *_PROVENANCE])
    slices = [name for name in spec.training.slices if name not in rows.column_names]
    if slices:
        features = lake.read(spec.table("features"), where={"score_date": day}, columns=[*key, *slices])
        rows = _joined(rows, features, key)
    rows = _joined(rows, _labels(lake, spec, day, as_of), key)
    status = pc.fill_null(rows.column(STATUS), scalar_of(MISSING, pa.string()))
    # Tables of the time before may hold NaN as a label, which is none.
    status = pc.if_else(is_nan(rows.column(spec.training.target)), scalar_of(MISSING, pa.string()), status)
    rows = rows.set_column(rows.column_names.index(STATUS), STATUS, status)
    return rows.sort_by([(name, "ascending") for name in key])


def _labels(lake: Lake, spec: ModelSpec, day: date, as_of: date) -> pa.Table:
    """The day's labels that had arrived; the target is null where there will never be one."""
    columns = [*spec.data.key, spec.training.target, "label_time", STATUS]
    if lake.find(spec.table("labels")) is None:
        return pa.Table.from_batches([], pa.schema([(name, pa.string()) for name in columns if name != "label_time"]))
    labels = lake.read(spec.table("labels"), where={"score_date": day}, columns=columns)
    label_time = labels.column("label_time")
    arrived = pc.less(label_time, scalar_of(spec.schedule.calendar.end(as_of), label_time.type))
    # A row that can never get a label may have no time at which that became known.
    never = pc.and_(pc.equal(labels.column(STATUS), scalar_of(NEVER, pa.string())), pc.is_null(label_time))
    return labels.filter(pc.or_(pc.fill_null(arrived, scalar_of(False, pa.bool_())), never)).drop_columns(
        ["label_time"]
    )


def _joined(left: pa.Table, right: pa.Table, key: list[str]) -> pa.Table:
    """A left join on the key, in the order of the left rows; null where the right side has no row.

    By hashes of the keys, compared exactly where they meet: Arrow's own join imports pandas, which costs more than the
    rest of the step. It does the work where two keys of the right side have one hash.
    """
    mine, theirs = row_hashes(left, key), row_hashes(right, key)
    order = np.argsort(theirs)
    ordered = theirs[order]
    if (ordered[1:] == ordered[:-1]).any():
        return _joined_by_arrow(left, right, key)
    spot = np.searchsorted(ordered, mine)
    found = spot < ordered.size
    found[found] = ordered[spot[found]] == mine[found]
    places = np.zeros(mine.size, dtype=np.int64)
    places[found] = order[spot[found]]
    rows = right.take(_indices(places, found))
    for name in key:
        found &= _is_true(pc.equal(left.column(name), rows.column(name).cast(left.schema.field(name).type)))
    rows = right.take(_indices(places, found))
    for name in right.column_names:
        if name not in key:
            left = left.append_column(right.schema.field(name), rows.column(name))
    return left


def _joined_by_arrow(left: pa.Table, right: pa.Table, key: list[str]) -> pa.Table:
    schema = pa.schema([left.schema.field(field.name) if field.name in key else field for field in right.schema])
    return left.join(right.cast(schema), keys=key, join_type="left outer")


def _indices(places: NDArray[np.int64], valid: NDArray[np.bool_]) -> pa.Array:
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), places.size, [bitmap, pa.py_buffer(places)])


def _is_true(mask: pa.ChunkedArray) -> NDArray[np.bool_]:
    """The mask with null as false."""
    filled = pc.fill_null(mask, scalar_of(False, pa.bool_())).cast(pa.int8())
    chunks = [values_of(chunk) for chunk in filled.chunks]
    true: NDArray[np.bool_] = np.concatenate([*chunks, np.zeros(0, dtype=np.int8)]) == 1
    return true
