"""Runs a model's three queries over its raw sources, once for a whole range of score dates.

Dates and instants go into the SQL as the engine's own parameters, and nothing else goes in; the text is the same for
DuckDB and Spark SQL. The queries run once, on the engine of the spec; then each day is fetched by itself.

Rows that cannot be read are kept from the queries. The contract runs once more, over them alone and without an end to
its range, to tell to which score date each belongs.
"""

# ruff: noqa: S608 - relations cannot be parameters; names are quoted

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa

from tallywright.data.delta.rows import constant, quoted
from tallywright.data.embedded_sql import QueryTimeError
from tallywright.data.etl.day_checks import check_columns, label_schema, with_stored_target, without_nan
from tallywright.data.etl.engine import sql_engine
from tallywright.data.etl.quarantine import Unreadable, quarantine_rows
from tallywright.data.etl.queries import read_query
from tallywright.data.etl.raw_rows import (
    count_rows,
    count_without_numbers,
    names_rows,
    numbered,
    numbers_of,
    sources_in,
)
from tallywright.data.etl.sources import read_sources, stamps_of
from tallywright.data.raw.relation import numbered_name
from tallywright.data.raw.typed import LINE_BITS, SOURCE_ROW
from tallywright.data.types import feature_schema, period_schema
from tallywright.errors import InputError
from tallywright.observability import log
from tallywright.score_period import DATE_COLUMN, Hour, columns_of, date_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from numpy.typing import NDArray

    from tallywright.data.delta.lake import Lake
    from tallywright.data.etl.raw_rows import FileRows
    from tallywright.data.etl.sources import RawContent
    from tallywright.data.raw.relation import Relation
    from tallywright.spec import ModelSpec, Project

_CONTRACT: Final = "contract_rows"
_FEATURES: Final = "feature_rows"
_LABELS: Final = "label_rows"
_UNREADABLE: Final = "unreadable_rows"
_REASON: Final = "reject_reason"
_WIDEST: Final = (date(1900, 1, 1), date(2100, 12, 31))


def period_parameters(spec: ModelSpec, first: date, last: date) -> dict[str, date]:
    """The parameters of a range of score periods: its ends, and where the lookback begins.

    Of hours, both the instants and the local dates.
    """
    calendar = spec.schedule.calendar
    lookback = calendar.lookback(first, spec.data.lookback)
    return _named({"from": first, "to": last, "lookback": lookback})


def label_parameters(spec: ModelSpec, as_of: date) -> dict[str, date]:
    """What the label query is given besides: the last score period whose labels are not waited for any longer."""
    return _named({"label_final": spec.schedule.calendar.before(as_of, spec.data.label_wait)})


def _has_rejects(counted: pa.Table) -> bool:
    return int(counted[_REASON].null_count) < int(counted.num_rows)


def without_ends(parameters: Mapping[str, date]) -> dict[str, date]:
    """Parameters of a range in which every row is."""
    first, last = _WIDEST
    ends = {name: last if name.startswith("to_") else first for name in parameters}
    return {
        name: datetime(end.year, end.month, end.day, tzinfo=UTC) if isinstance(parameters[name], datetime) else end
        for name, end in ends.items()
    }


def _named(periods: Mapping[str, date]) -> dict[str, date]:
    dates = {f"{name}_date": date_of(period) for name, period in periods.items()}
    hours = {f"{name}_hour": period.instant for name, period in periods.items() if isinstance(period, Hour)}
    return dates | hours


@dataclass(frozen=True, slots=True)
class RawDay:
    """What the queries return for one score date, not checked yet."""

    day: date
    accepted: int
    features: pa.Table
    labels: pa.Table
    label_schema: pa.Schema
    rejected: pa.Table
    raw_digest: str = ""
    """Of the raw content that all of it comes from."""
    files: tuple[FileRows, ...] = ()
    """What became of the rows of each raw file."""
    selected: frozenset[str] = frozenset()
    """The sources that the contract selects rows from; others are looked up in."""


class RawRun:
    """The queries of a project over one range; a context manager that owns its SQL engine.

    Args:
        project: Whose queries.
        first: First score date.
        last: Last score date.
        as_of: The score date as of which labels are read: `last`, when not given. It says which rows without a label
            are still waited for, and nothing else.
        labels_only: Leave the feature query out; only `labels` and `accepted` may be asked then.
        labels_from: The first score date whose labels are read, where that is before `first`.

    Raises:
        SpecError: A query that is missing or not a plain query.
        InputError: A query that fails, or whose columns are not those of the spec.
        UsageError: What the engine of the spec needs is not installed.
        StorageError: Raw files, work folder or cluster that cannot be used.
    """

    def __init__(
        self,
        project: Project,
        first: date,
        last: date,
        *,
        as_of: date | None = None,
        labels_only: bool = False,
        labels_from: date | None = None,
    ) -> None:
        self._project = project
        self._data = project.spec.data
        self._calendar = project.spec.schedule.calendar
        begin = min(first, labels_from or first)
        self._ends = {
            _CONTRACT: (self._calendar.lookback(begin, self._data.lookback), last),
            _FEATURES: (first, last),
            _LABELS: (begin, last),
        }
        whole = period_parameters(project.spec, begin, last)
        self._parameters = {
            _CONTRACT: whole,
            _FEATURES: period_parameters(project.spec, first, last),
            _LABELS: whole | label_parameters(project.spec, as_of or last),
        }
        self._labels_only = labels_only
        self._columns: list[str] = []
        self._has_numbers = False
        self._selected: set[str] = set()
        self._dates: dict[int, date] = {}

    def __enter__(self) -> Self:
        self.content = self.read()
        data = self._data
        queries = {_CONTRACT: data.contract, _LABELS: data.labels}
        queries |= {} if self._labels_only else {_FEATURES: data.features}
        self._queries = {
            relation: read_query(self._project.folder / file, self._parameters[relation], self._shown(file))
            for relation, file in queries.items()
        }
        self._names_rows = names_rows(self._queries[_CONTRACT].text) and not self._has_own_numbers
        self._engine = sql_engine(self._project)
        try:
            for name, relation in self.content.relations.items():
                self._engine.source(name, relation, numbered=self._names_rows)
            for query in self._queries.values():
                self._engine.check(query)
            self._prepare()
            self._require_same_files()
        except BaseException:
            self._engine.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def read(self) -> RawContent:
        """The raw content that the queries are given."""
        return read_sources(self._project)

    def day(self, day: date) -> RawDay:
        """The rows of one date, features and labels in key order."""
        key, spec = self._data.key, self._project.spec
        counted = self._engine.rows(_CONTRACT, day, [SOURCE_ROW, _REASON]) if self._has_numbers else None
        rejected = self._rejected(day) if counted is None or _has_rejects(counted) else counted.slice(0, 0)
        unreadable = np.array([number for number, dated in self._dates.items() if dated == day], np.int64)
        files = self._file_rows(day, counted, rejected, unreadable)
        return RawDay(
            day=day,
            accepted=self.raw_rows(day) - rejected.num_rows,
            features=self._dated(self._engine.rows(_FEATURES, day, list(self._data.columns), order=key), day).select(
                feature_schema(spec).names
            ),
            labels=self.labels(day),
            label_schema=self._label_schema,
            rejected=self._dated(self._refused(rejected, unreadable), day),
            raw_digest=self.content.digest,
            files=files,
            selected=frozenset(self._selected or self._named),
        )

    def _refused(self, rejected: pa.Table, unreadable: NDArray[np.int64]) -> pa.Table:
        """What a date has in quarantine."""
        if not rejected.num_rows:
            return self._unreadable.of(unreadable)
        numbers = rejected[SOURCE_ROW] if self._has_numbers else None
        refused = quarantine_rows(rejected.select(self._columns), numbers, self.content.raw_files)
        return pa.concat_tables([refused, self._unreadable.of(unreadable)])

    def _file_rows(
        self, day: date, counted: pa.Table | None, rejected: pa.Table, unreadable: NDArray[np.int64]
    ) -> tuple[FileRows, ...]:
        """What became of the rows of each raw file at a date."""
        files = self.content.raw_files
        named = self._named
        if counted is not None:
            good = numbers_of(counted.filter(counted[_REASON].is_null())[SOURCE_ROW])
            bad = np.union1d(numbers_of(rejected[SOURCE_ROW]), unreadable)
            self._selected.update(files[place].source for place in np.unique(np.union1d(good, bad) >> LINE_BITS))
        if counted is None or not (self._selected or len(named) == 1):
            # No rows have numbers, or none of this date says of which source they are.
            accepted = self.raw_rows(day) - rejected.num_rows
            return count_without_numbers(files, named, accepted, rejected.num_rows)
        self._selected = self._selected or named
        return count_rows(files, self._selected, good, bad, self.undated)

    @property
    def _named(self) -> set[str]:
        """The sources whose names are words of the contract."""
        return sources_in(self._queries[_CONTRACT].text, self.content.relations)

    @property
    def undated(self) -> NDArray[np.int64]:
        """The numbers of the rows that cannot be read and belong to no date that could be told."""
        return np.setdiff1d(self._unreadable.numbers, np.array(list(self._dates), np.int64))

    def record_unreadable(self, lake: Lake) -> None:
        """Keeps the rows that cannot be read and have no date."""
        self._unreadable.record(lake, self._project.spec, self.undated)

    def explain(self, error: InputError) -> None:
        """Adds to an error about a day the rows that cannot be read, as these may be what the day lacks."""
        rows = sum(file.rows for file in self.content.raw_files)
        if not self._unreadable.numbers.size:
            return
        error.found += (
            f"; {self._unreadable.numbers.size:,} of the {rows:,} rows of the raw files cannot be read, "
            f"such as {self._unreadable.example}"
        )
        error.remedy = f"look at those first: tally validate {self._project.spec.name} --data; else {error.remedy}"

    def raw_rows(self, day: date) -> int:
        """How many raw rows of the date there are, rejected ones included."""
        return self._contract_days.get(day, 0)

    def accepted(self, day: date) -> int:
        """How many raw rows of the date the contract accepts."""
        return self.raw_rows(day) - int(self._rejected(day).num_rows)

    def labels(self, day: date) -> pa.Table:
        """The labels of one date in key order, of the schema `label_schema` but for naive instants; NaN is none."""
        spec = self._project.spec
        columns = [name for name in self._label_schema.names if name not in spec.partition]
        found = self._engine.rows(_LABELS, day, columns, order=self._data.key)
        return without_nan(spec, self._dated(found, day).select(self._label_schema.names))

    def _dated(self, rows: pa.Table, period: date) -> pa.Table:
        """The rows with the columns of their period in front."""
        values = columns_of({DATE_COLUMN: period})
        columns = [
            constant(values[field.name], field.type, rows.num_rows) for field in period_schema(self._project.spec)
        ]
        names = [*values, *rows.column_names]
        return pa.table([*columns, *rows.columns], names=names)

    @property
    def is_current(self) -> bool:
        """True while the raw files are those that were read."""
        return stamps_of(self._project) == self.content.stamps

    @property
    def label_schema(self) -> pa.Schema:
        """The schema of the label table."""
        return self._label_schema

    def _rejected(self, day: date) -> pa.Table:
        columns = [*self._columns, SOURCE_ROW] if self._has_numbers else self._columns
        return self._engine.rows(_CONTRACT, day, columns, present=_REASON)

    def _require_same_files(self) -> None:
        """Refuses rows of queries under which a Parquet file was replaced: each query reads the files anew."""
        now = stamps_of(self._project) if self.content.unstaged else {}
        changed = sorted(path for path, stamp in self.content.unstaged.items() if now.get(path) != stamp)
        if changed:
            raise InputError(
                f"{', '.join(changed)} changed while the queries read it; nothing was changed",
                expected="raw files that stay as they are while they are read",
                remedy="run it again",
            )

    def _prepare(self) -> None:
        self._keep_contract()
        self._contract_days = self._days(_CONTRACT, self._data.contract, "lookback")
        accepted = ", ".join(quoted(name) for name in self._columns if name != _REASON)
        self._engine.view("accepted", f"SELECT {accepted} FROM {_CONTRACT} WHERE {_REASON} IS NULL")
        if not self._labels_only:
            self._engine.keep(_FEATURES, self._queries[_FEATURES], self._check_features)
            self._days(_FEATURES, self._data.features, "from")
        self._engine.keep(_LABELS, self._queries[_LABELS], self._check_labels)
        self._days(_LABELS, self._data.labels, "from")

    def _keep_contract(self) -> None:
        """Runs the contract, with the numbers of the raw rows where it can have them; then over unreadable rows."""
        plain, sources = self._queries[_CONTRACT], self.content.relations
        counted = None if self._names_rows or self._has_own_numbers else numbered(plain, sources)
        self._selected = set() if counted is None else {name for name in sources if numbered_name(name) in counted.text}
        self._unreadable = Unreadable(list(sources.values()), self.content.raw_files)
        try:
            self._queries[_CONTRACT] = counted or plain
            self._engine.keep(_CONTRACT, self._queries[_CONTRACT], self._check_contract)
        except InputError as error:
            if counted is None or isinstance(error, QueryTimeError):
                raise
            self._queries[_CONTRACT] = plain
            self._engine.keep(_CONTRACT, plain, self._check_contract)
        unreadable = {name: relation for name, relation in sources.items() if relation.unreadable}
        if unreadable and not self._has_numbers:
            log.info("%s selects no source_row: no date is told of rows that cannot be read", self._data.contract)
            return
        for name, relation in unreadable.items():
            self._date_unreadable(name, relation)

    def _date_unreadable(self, name: str, relation: Relation) -> None:
        """Finds the score dates of the unreadable rows of a source: none of one whose date cannot be read."""
        file, query = self._data.contract, self._queries[_CONTRACT].over(without_ends(self._parameters[_CONTRACT]))
        self._engine.source(name, relation, numbered=self._names_rows, unreadable=True)
        try:
            self._engine.keep(_UNREADABLE, query, lambda _: None)
            for value in self._engine.days(_UNREADABLE):
                period = period_of(self._project.spec, value, file)
                if period is not None:
                    found = numbers_of(self._engine.rows(_UNREADABLE, period, [SOURCE_ROW])[SOURCE_ROW])
                    self._dates |= dict.fromkeys(np.intersect1d(found, self._unreadable.numbers).tolist(), period)
        except InputError as error:
            log.info("data.sources.%s: no date can be told of its rows that cannot be read: %s", name, error.found)
        finally:
            self._engine.source(name, relation, numbered=self._names_rows)

    def _shown(self, file: str) -> str:
        """What messages call a query's file: its path in the project."""
        path = self._project.folder / file
        return str(path.relative_to(self._project.root)) if path.is_relative_to(self._project.root) else str(path)

    def _check_contract(self, found: pa.Schema) -> None:
        check_columns(found, pa.schema([self._period_field, (_REASON, pa.string())]), self._data.contract, others=True)
        number = found.field(SOURCE_ROW).type if SOURCE_ROW in found.names else None
        self._has_numbers = number == pa.int64() and not self._has_own_numbers
        self._columns = [name for name in found.names if name != SOURCE_ROW or not self._has_numbers]

    @property
    def _has_own_numbers(self) -> bool:
        """True where a raw file has a column of a name that the numbers of rows come by."""
        return any(relation.has_own_numbers for relation in self.content.relations.values())

    def _check_features(self, found: pa.Schema) -> None:
        check_columns(found, self._as_selected(feature_schema(self._project.spec)), self._data.features)

    def _check_labels(self, found: pa.Schema) -> None:
        self._label_schema = label_schema(self._project.spec, found)
        expected = self._as_selected(self._label_schema)
        check_columns(with_stored_target(self._project.spec, found), expected, self._data.labels)

    @property
    def _period_field(self) -> pa.Field:
        """The one column by which the queries name the period of a row: of an hour its instant."""
        return period_schema(self._project.spec).field(self._project.spec.partition[-1])

    def _as_selected(self, stored: pa.Schema) -> pa.Schema:
        """The columns that a query has to return for these stored ones: the date of an hour follows from it."""
        partition = self._project.spec.partition
        return pa.schema([field for field in stored if field.name not in partition[:-1]])

    def _days(self, relation: str, file: str, begins: str) -> dict[date | None, int]:
        """The number of rows by score period, all of them periods within the range."""
        (low, high), column = self._ends[relation], self._project.spec.partition[-1]
        by_value = self._engine.days(relation)
        found = {period_of(self._project.spec, value, file): rows for value, rows in by_value.items()}
        outside = {day: rows for day, rows in found.items() if day is None or not low <= day <= high}
        if outside:
            example = min((day for day in outside if day is not None), default=None)
            kind = column.removeprefix("score_")
            raise InputError(
                f"{file}: {sum(outside.values())} rows have {column} "
                f"{'null' if example is None else f'{example} (and others)'}",
                expected=f"score {'hours' if kind == 'hour' else 'dates'} from {low} to {high}",
                remedy=f"end the query with WHERE {column} BETWEEN :{begins}_{kind} AND :to_{kind}",
            )
        return found


def period_of(spec: ModelSpec, value: date | datetime | None, file: str) -> date | None:
    """The period of a value of the period's column.

    Raises:
        InputError: No period begins then.
    """
    calendar = spec.schedule.calendar
    if value is None:
        return None
    instant = value if isinstance(value, datetime) else None
    if instant is not None and instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    period = value if instant is None else calendar.period_at(instant)
    begins = period.instant == instant if isinstance(period, Hour) else calendar.is_period(period)
    if begins:
        return period
    raise InputError(
        f"{file}: rows have {spec.partition[-1]} {value}, and no {calendar.cadence} begins then",
        expected=calendar.form,
        remedy=f"truncate it to the {calendar.cadence}, such as with date_trunc",
    )
