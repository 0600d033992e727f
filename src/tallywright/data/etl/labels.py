"""Labels, which are late by nature: how they are written, until when they are read again, and what changed.

`<model>__label_readings` keeps of each date as of which score date its labels were last read. A date is done when they
were read after its wait (`data.label_wait_days`) had passed, in whatever order the days were run; until then each run
reads them again, and one that failed is made good by the next. A reading is never taken back: a repeat of an old day
reads as of the newest score date that is known.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.delta.rows import rows_of, scalar_of
from tallywright.data.delta.schema import as_utc
from tallywright.data.delta.table import Table
from tallywright.data.etl.day_checks import KNOWN, NEVER, check_instants, check_labels, has_status
from tallywright.data.etl.label_readings import (
    LABEL_READINGS,
    LabelReading,
    dates_to_read,
    label_readings,
    newest_date,
    read_as_of,
)
from tallywright.data.etl.reading import OutdatedReadingError, Reading, write_if_changed
from tallywright.data.etl.transform import RawRun
from tallywright.data.fingerprint import digest, row_hashes
from tallywright.errors import CommitConflictError, TallyError
from tallywright.labels import class_names
from tallywright.observability import log
from tallywright.records import Manifest
from tallywright.score_period import DATE_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec, Project

_READINGS: Final = 3
"""How often the raw files are read before a run gives up."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What a reading of one date's labels changed.

    Attributes:
        score_date: The date.
        arrived: Labels that are known now and were not before.
        revoked: Of these, how many were said to never come.
        lost: Labels that were known and are not any more.
        restated: Labels that were known before, with another value.
        never: Rows that will never have one, of which that was not said before.
        changed: Whether anything was written.
    """

    score_date: date
    arrived: int = 0
    revoked: int = 0
    lost: int = 0
    restated: int = 0
    never: int = 0
    changed: bool = False


class LabelWriter:
    """Writes the labels of the dates of one run, and remembers what was read until `record`."""

    def __init__(self, lake: Lake, spec: ModelSpec, last: date) -> None:
        self._lake, self._spec = lake, spec
        self._read: list[LabelReading] = []
        self._calendar = spec.schedule.calendar
        self._negative: str | None = None
        self.as_of = newest_date(self._calendar, last, label_readings(lake, spec))
        """The newest score period that is known: what has been waited for long enough as of it was, for ever."""

    def write(self, day: date, labels: pa.Table, reading: Reading) -> LabelChange:
        """Replaces the labels of a date, unless the table holds the same.

        Raises:
            OutdatedReadingError: Another run has changed the date since the raw files were read.
        """
        content = digest(labels, labels.column_names)
        self._compare_classes(day, labels)
        before = write_if_changed(self._lake, self._spec.table("labels"), labels, day, reading)
        found = LabelChange(day) if before is None else _compared(self._spec, day, before, labels)
        mature = _known_by(labels, self._calendar.end(self._calendar.settled(day, self._spec.data.label_maturity)))
        self._read.append(
            LabelReading(
                score_date=day,
                model_name=self._spec.name,
                as_of=read_as_of(self._spec, day, self.as_of),
                known=_count(labels, KNOWN),
                never=_count(labels, NEVER),
                fingerprint=content.hex,
                mature_fingerprint=digest(mature, mature.column_names).hex,
                recorded_at=datetime.now(UTC),
            )
        )
        return found

    def _compare_classes(self, day: date, labels: pa.Table) -> None:
        """Says where the negative class has another name than so far; which of both is right is not known here.

        Scores need no label, so the day is not refused: what cannot use the labels says so when it does.
        """
        positive = self._spec.training.positive
        if not positive:
            return
        names = pc.unique(class_names(labels[self._spec.training.target].drop_null())).to_pylist()
        found = next((name for name in names if name != positive), None)
        if found is None:
            return
        if self._negative is None:
            self._negative = _negative_class(self._lake, self._spec, positive) or found
        if found != self._negative:
            log.warning(
                "labels of %s: %s has the class %r in %d rows, where the class beside %r was %r so far; if both are "
                "one, correct %s and ingest the day again",
                day, self._spec.training.target, found, _rows_of(labels[self._spec.training.target], found), positive,
                self._negative, self._spec.data.labels,
            )  # fmt: skip

    def record(self) -> None:
        """Records the readings, in one commit; equal ones make none."""
        read, self._read = self._read, []

        def propose(rows: list[LabelReading]) -> list[LabelReading] | None:
            standing = {row.score_date: row for row in rows}
            merged = standing | {row.score_date: _later(standing.get(row.score_date), row) for row in read}
            return None if merged == standing else [merged[day] for day in sorted(merged)]

        if read:
            Table(LABEL_READINGS, self._lake, self._spec).update(propose, {"model_name": self._spec.name})


def _negative_class(lake: Lake, spec: ModelSpec, positive: str) -> str | None:
    """The name of the class beside the positive one, by the newest tally; None where none says it."""
    table = spec.table("tallies")
    try:
        if lake.find(table) is None:
            return None
        last = pc.max(lake.read(table, columns=[DATE_COLUMN])[DATE_COLUMN]).as_py()
        rows = rows_of(lake.read(table, where={DATE_COLUMN: last}, columns=["generation", "manifest_json"]))
    except TallyError:
        return None  # damage of other tables is no matter of ingest
    newest = max(rows, key=lambda row: row["generation"], default=None)
    meaning = Manifest.from_json(newest["manifest_json"]).meaning if newest is not None else None
    if meaning is None or meaning.positive != positive:
        return None
    return next((name for name in meaning.classes if name != positive), None)


def _rows_of(column: pa.ChunkedArray, name: str) -> int:
    names = class_names(column.drop_null())
    return int(pc.sum(pc.equal(names, scalar_of(name, pa.string()))).as_py() or 0)


def _later(standing: LabelReading | None, new: LabelReading) -> LabelReading:
    """The new reading, as of the later of both dates; the standing one where nothing else is new."""
    if standing is None:
        return new
    new = new.model_copy(update={"as_of": max(standing.as_of, new.as_of)})
    return standing if new.model_copy(update={"recorded_at": standing.recorded_at}) == standing else new


@contextmanager
def label_writer(lake: Lake, spec: ModelSpec, last: date) -> Iterator[LabelWriter]:
    """A writer whose readings are recorded at the end of the block, also of a run that ends early."""
    writer = LabelWriter(lake, spec, last)
    try:
        yield writer
    finally:
        writer.record()


def refresh_labels(project: Project, lake: Lake, first: date, last: date) -> list[LabelChange]:
    """Reads the labels of younger dates again, in one run of the SQL, and says what changed; equal ones change nothing.

    Args:
        project: The model project.
        lake: Where the tables are.
        first: First score date of the run, whose own labels were just read.
        last: Its last score date.

    Returns:
        A change for each date that changed.

    Raises:
        TallyError: Raw files, queries or tables that cannot be used. Dates that were written stay so, and the next run
            reads the others again.
    """
    due = labels_due(lake, project.spec, first, last)
    changes: dict[date, LabelChange] = {}
    for _ in range(_READINGS if due else 0):
        try:
            if _read_again(project, lake, due, last, changes):
                break
        except OutdatedReadingError as error:
            log.info("the labels are read again: %s", error)
    else:
        if due:
            raise CommitConflictError(
                f"other runs wrote the labels of {due[0]} to {due[-1]}, or the raw files changed, each of {_READINGS} "
                "times that they were read",
                remedy="the next run reads them again",
            )
    return [changes[day] for day in sorted(changes)]


def labels_due(lake: Lake, spec: ModelSpec, first: date, last: date) -> list[date]:
    """The ingested dates whose labels a run of the score dates `first` to `last` reads again, in order."""
    if lake.find(spec.table("features")) is None:
        return []
    ingested = {file.day for file in lake.files(spec.table("features")) if file.day is not None}
    return dates_to_read(spec, ingested, label_readings(lake, spec), first, last)


def _read_again(project: Project, lake: Lake, due: list[date], last: date, changes: dict[date, LabelChange]) -> bool:
    """Reads the raw files once and writes these dates' labels; False where the files changed meanwhile."""
    reading = Reading.before(lake, project.spec, due)
    with (
        label_writer(lake, project.spec, last) as writer,
        RawRun(project, due[0], due[-1], as_of=writer.as_of, labels_only=True) as run,
    ):
        for change in written_again(lake, project.spec, due, run, writer, reading):
            changes[change.score_date] = change
        return run.is_current


def written_again(
    lake: Lake, spec: ModelSpec, days: Iterable[date], run: RawRun, writer: LabelWriter, reading: Reading
) -> Iterator[LabelChange]:
    """Writes the labels of these dates, and yields what changed of each; those that cannot be used stay as they are.

    Raises:
        OutdatedReadingError: Another run has changed the date since the raw files were read.
    """
    for day in days:
        labels = _labels_of(spec, lake, run, day)
        change = None if labels is None else writer.write(day, labels, reading)
        if change is not None and change.changed:
            yield change


def _labels_of(spec: ModelSpec, lake: Lake, run: RawRun, day: date) -> pa.Table | None:
    """One date's labels as read again; None where they cannot be used, which is said and concerns no other date."""
    columns = list(dict.fromkeys([*spec.data.key, spec.data.score_moment]))
    features = lake.read(spec.table("features"), where={"score_date": day}, columns=columns)
    accepted = run.accepted(day)
    if accepted < features.num_rows:
        log.warning(
            "labels of %s stay as they are: the raw files hold %d of its %d rows", day, accepted, features.num_rows
        )
        return None
    labels = run.labels(day)
    try:
        check_instants(labels, spec.data.key, f"{spec.table('labels')} of {day}")
    except TallyError as error:
        log.warning("labels of %s stay as they are: %s", day, error.found)
        return None
    labels = as_utc(labels, run.label_schema)
    strange = ~np.isin(row_hashes(labels, spec.data.key), row_hashes(features, spec.data.key))
    if strange.any():
        log.warning("%d labels of %s belong to rows that were not ingested, and are left out: ingest the day again",
                    int(strange.sum()), day)  # fmt: skip
        labels = labels.filter(pa.array(~strange))
    try:
        check_labels(spec, day, labels, features)
    except TallyError as error:
        log.warning("labels of %s stay as they are: %s", day, error.found)
        return None
    return labels


def _compared(spec: ModelSpec, day: date, before: pa.Table, after: pa.Table) -> LabelChange:
    """What differs, said in the log where labels were there before."""
    key = spec.data.key
    if "label_status" not in before.column_names:
        before = after.slice(0, 0)
    was, said_never, now, never = (
        row_hashes(table.filter(has_status(table, status)), key)
        for table, status in ((before, KNOWN), (before, NEVER), (after, KNOWN), (after, NEVER))
    )
    arrived = now[~np.isin(now, was)]
    change = LabelChange(
        day,
        arrived=arrived.size,
        revoked=int(np.isin(arrived, said_never).sum()),
        lost=int((~np.isin(was, now)).sum()),
        restated=_restated(spec, before, after),
        never=int((~np.isin(never, said_never)).sum()),
        changed=True,
    )
    if before.num_rows:
        log.info("labels of %s %s; now %d are known and %d never come",
                 day, _told(change), _count(after, KNOWN), _count(after, NEVER))  # fmt: skip
    return change


def _restated(spec: ModelSpec, before: pa.Table, after: pa.Table) -> int:
    """How many labels that were known, and are, have another value."""
    key, target = list(spec.data.key), spec.training.target
    if target not in before.column_names or before[target].type != after[target].type:
        return 0  # nothing was known by that name, or of that kind
    was, now = (table.filter(has_status(table, KNOWN)) for table in (before, after))
    both = np.isin(row_hashes(now, key), row_hashes(was, key))
    return int((both & ~np.isin(row_hashes(now, [*key, target]), row_hashes(was, [*key, target]))).sum())


def _told(change: LabelChange) -> str:
    """What is not zero, in words."""
    more = f"{change.arrived} more are known"
    parts = {
        more + (f" ({change.revoked} of them were `never`)" if change.revoked else ""): change.arrived,
        f"{change.restated} have another value": change.restated,
        f"{change.lost} are not known any more": change.lost,
        f"{change.never} more never come": change.never,
    }
    said = ", ".join(text for text, rows in parts.items() if rows)
    return f"changed: {said}" if said else "were written again with the same values: what else is said of them changed"


def _known_by(labels: pa.Table, instant: datetime) -> pa.Table:
    """The labels that had arrived before an instant, and the rows that never get one without saying since when."""
    times = labels["label_time"]
    arrived = pc.fill_null(pc.less(times, scalar_of(instant, times.type)), scalar_of(False, pa.bool_()))
    return labels.filter(pc.or_(arrived, pc.and_(has_status(labels, NEVER), pc.is_null(times))))


def _count(labels: pa.Table, status: str) -> int:
    return int(pc.sum(has_status(labels, status)).as_py() or 0)
