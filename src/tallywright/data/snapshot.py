"""Training snapshots: the days and the table versions that a model is trained on, decided once and then pinned.

Windows end the day before the as-of date, the holdout last, or earlier where labels are waited for: a date of which
some labels are still to come holds only the fast outcomes, so it is counted and not used. A label counts only if it had
arrived by the as-of date.
"""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo

import pyarrow.compute as pc

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.query import scan
from tallywright.data.types import feature_schema
from tallywright.errors import InputError
from tallywright.labels import is_nan
from tallywright.observability import log
from tallywright.records import Record, TableVersion
from tallywright.score_period import date_of
from tallywright.spec.calendar import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb
    import pyarrow as pa

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec, Project

Split = Literal["train", "validation", "holdout"]
_DAY: Final = timedelta(days=1)
SPLITS: tuple[Split, ...] = ("train", "validation", "holdout")


class Snapshot(Record):
    """The data of one training run: versions, windows (both ends included) and what was found in them.

    `rows` counts the labelled rows by split, `coverage` is their share of all rows, `fingerprint` the order-free
    digest of all labelled rows: equal fingerprints, equal training data.
    """

    model: str
    as_of: date
    features: TableVersion
    labels: TableVersion
    train_from: date
    train_to: date
    validation_from: date
    validation_to: date
    holdout_from: date
    holdout_to: date
    rows: dict[str, int]
    coverage: dict[str, float]
    fingerprint: str

    def window(self, split: Split) -> tuple[date, date]:
        """First and last day of a split."""
        windows = {
            "train": (self.train_from, self.train_to),
            "validation": (self.validation_from, self.validation_to),
            "holdout": (self.holdout_from, self.holdout_to),
        }
        return windows[split]


def take_snapshot(
    project: Project, lake: Lake, as_of: date, *, require: Callable[[Snapshot], None] | None = None
) -> Snapshot:
    """Takes the snapshot of the data that were known on the as-of date.

    Args:
        project: The model project; sizes of the windows come from `training`.
        lake: Where the tables are.
        as_of: Nothing of this day or later takes part, nor a label that arrived on it or later.
        require: Is asked, before a row is read, whether the data of the windows are sound, and raises where not.

    Raises:
        InputError: Days of the windows that were not ingested, or a split without a labelled row.
    """
    spec = project.spec
    snapshot = _windows(spec, lake, as_of)
    _require_days(spec, lake, snapshot)
    if require is not None:
        require(snapshot)
    _count_waiting(spec, lake, snapshot)
    rows: dict[str, int] = {}
    coverage: dict[str, float] = {}
    content = RowDigest()
    for split in SPLITS:
        part = read_split(project, lake, snapshot, split)
        if part.num_rows == 0:
            first, last = snapshot.window(split)
            raise InputError(
                f"no labelled rows in the {split} window, {first} to {last}, as of {as_of}",
                expected=f"labels that arrived before {as_of}",
                remedy="choose a later as-of date, or ingest the days again once their labels are there",
            )
        content += digest(part, part.column_names)
        rows[split] = part.num_rows
        coverage[split] = part.num_rows / _feature_rows(spec, lake, snapshot, split)
    return snapshot.model_copy(update={"rows": rows, "coverage": coverage, "fingerprint": content.hex})


def read_split(project: Project, lake: Lake, snapshot: Snapshot, split: Split) -> pa.Table:
    """The labelled rows of a split: `score_date`, data.columns and the target, by date and key.

    Raises:
        StorageError: The pinned versions are gone.
    """
    spec = project.spec
    connection = connect()
    try:
        with sql_errors(f"reading the {split} split", "take a new snapshot"):
            features = _scan(connection, lake, snapshot.features, snapshot, split)
            labels = _scan(connection, lake, snapshot.labels, snapshot, split)
            query = _split_query(spec, snapshot, split, features, labels)
            rows = connection.sql(query).to_arrow_table()
            # Tables of the time before may hold NaN as a label, which is none.
            nan = is_nan(rows[spec.training.target])
            return rows.filter(pc.invert(nan)) if pc.any(nan).as_py() else rows
    finally:
        connection.close()


def last_period(spec: ModelSpec, as_of: date) -> date:
    """The last period whose labels have all arrived by the as-of date: the end of the windows.

    Windows of an hourly model are whole local dates, so it is the last hour of one.
    """
    calendar, wait = spec.schedule.calendar, spec.data.label_wait
    if wait.unit == "days":
        return calendar.over_on(as_of - timedelta(days=max(1, wait.length)))
    last = calendar.before(calendar.over_on(as_of - _DAY), Span(max(0, wait.length - 1), "periods"))
    day = date_of(last)
    if calendar.is_hourly and last < calendar.last_open_on(day):
        day -= _DAY
    return calendar.over_on(calendar.last_date(day))


def _windows(spec: ModelSpec, lake: Lake, as_of: date) -> Snapshot:
    """The windows, one before the other; of an hourly model they are whole local dates."""
    training, calendar = spec.training, spec.schedule.calendar
    last = last_period(spec, as_of)
    holdout_from = calendar.first_of(last, training.holdout)
    before = calendar.previous(holdout_from)
    validation_from, train_from = (calendar.first_of(before, span) for span in (training.validation, training.window))
    return Snapshot(
        model=spec.name,
        as_of=as_of,
        features=_current(lake, spec.table("features")),
        labels=_current(lake, spec.table("labels")),
        train_from=date_of(train_from),
        train_to=date_of(calendar.previous(validation_from)),
        validation_from=date_of(validation_from),
        validation_to=date_of(before),
        holdout_from=date_of(holdout_from),
        holdout_to=date_of(last),
        rows={},
        coverage={},
        fingerprint="",
    )


def _current(lake: Lake, table: str) -> TableVersion:
    handle = lake.find(table)
    if handle is None:
        raise InputError(
            f"there is no {table} yet", expected="ingested days", remedy="ingest the training window first"
        )
    return TableVersion(table=table, version=handle.version())


def _require_days(spec: ModelSpec, lake: Lake, snapshot: Snapshot) -> None:
    first, last = snapshot.train_from, snapshot.holdout_to
    calendar = spec.schedule.calendar
    wanted = set(calendar.open_between(calendar.first_on(first), calendar.last_on(last)))
    there = {file.day for file in lake.files(snapshot.features.table, version=snapshot.features.version)}
    missing = sorted(wanted - there)
    if missing:
        shown = ", ".join(str(day) for day in missing[:5]) + (", …" if len(missing) > 5 else "")  # noqa: PLR2004
        raise InputError(
            f"{snapshot.features.table} lacks {len(missing)} of the {len(wanted)} {calendar.cadence}s to train on: "
            f"{shown}",
            expected=f"every {calendar.cadence} from {first} to {last} ingested, but for those that schedule.closed "
            "names",
            remedy=_ingest_or_wait(spec, snapshot, missing),
        )


def _ingest_or_wait(spec: ModelSpec, snapshot: Snapshot, missing: Sequence[date]) -> str:
    """What to do about periods that were not ingested; before the schedule's start none can be."""
    start, unit = spec.schedule.start_date, spec.training.window.unit
    if date_of(missing[0]) >= start:
        return f"ingest {missing[0]} to {missing[-1]} of {spec.name}, or choose a later as-of date"
    return (
        f"choose an as-of date from about {snapshot.as_of + (start - snapshot.train_from)} on: the windows reach back "
        f"to {snapshot.train_from}, and nothing is ingested before schedule.start_date {start}; or set an earlier "
        f"start_date, or a smaller window_{unit} or holdout_{unit} in section training"
    )


def _count_waiting(spec: ModelSpec, lake: Lake, snapshot: Snapshot) -> None:
    """Says how many rows the windows leave out because labels of their dates may still arrive."""
    files = lake.files(snapshot.features.table, version=snapshot.features.version)
    left = [file for file in files if file.day is not None and snapshot.holdout_to < date_of(file.day) < snapshot.as_of]
    if left:
        count = len({file.day for file in left})
        log.info(
            "the windows end on %s: %d rows of %d later %s%s are not used, as labels may arrive for %s",
            snapshot.holdout_to, sum(file.rows for file in left), count, spec.schedule.calendar.cadence,
            "s" * (count != 1),
            spec.data.label_wait,
        )  # fmt: skip


def _feature_rows(spec: ModelSpec, lake: Lake, snapshot: Snapshot, split: Split) -> int:
    first, last = snapshot.window(split)
    files = lake.files(spec.table("features"), version=snapshot.features.version)
    return sum(file.rows for file in files if file.day is not None and first <= date_of(file.day) <= last)


def _scan(
    connection: duckdb.DuckDBPyConnection, lake: Lake, pinned: TableVersion, snapshot: Snapshot, split: Split
) -> str:
    first, last = snapshot.window(split)
    files = lake.files(pinned.table, version=pinned.version)
    inside = [file for file in files if file.day is not None and first <= date_of(file.day) <= last]
    return scan(connection, lake, lake.look(pinned.table, pinned.version), inside)


def _split_query(spec: ModelSpec, snapshot: Snapshot, split: Split, features: str, labels: str) -> str:
    first, last = snapshot.window(split)
    schema = feature_schema(spec)
    columns = ", ".join(f"f.{quoted(name)}" for name in schema.names)
    on = " AND ".join(f"f.{quoted(name)} = l.{quoted(name)}" for name in (*spec.partition, *spec.data.key))
    order = ", ".join(f"f.{quoted(name)}" for name in (*spec.partition, *spec.data.key))
    return (
        f"SELECT {columns}, l.{quoted(spec.training.target)} FROM ({features}) f JOIN ({labels}) l ON {on} "
        f"WHERE l.label_status = 'known' AND l.label_time < TIMESTAMPTZ '{_end_of_knowledge(spec, snapshot.as_of)}' "
        f"AND f.score_date BETWEEN DATE '{first}' AND DATE '{last}' ORDER BY {order}"
    )


def _end_of_knowledge(spec: ModelSpec, as_of: date) -> str:
    """The instant at which the as-of date begins in the schedule's zone."""
    return datetime.combine(as_of, time(), ZoneInfo(spec.schedule.timezone)).isoformat()
