"""Runs a model's three queries over its raw sources, once for a whole range of score dates.

Dates and instants go into the SQL as the engine's own parameters, and nothing else goes in; the text is the same for
DuckDB and Spark SQL. The queries run once, on the engine of the spec; then each day is fetched by itself. Rejected rows
become the reason and the whole row as one JSON text, made here from Arrow for every engine alike, because engines
differ in how they write JSON.
"""

# ruff: noqa: S608 - relations cannot be parameters; names are quoted

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa

from tallywright.data.delta.rows import constant, quoted
from tallywright.data.embedded_sql import connect
from tallywright.data.etl.day_checks import check_columns, label_schema, with_stored_target, without_nan
from tallywright.data.etl.engine import sql_engine
from tallywright.data.etl.queries import read_query
from tallywright.data.etl.sources import read_sources, stamps_of
from tallywright.data.types import feature_schema, period_schema
from tallywright.errors import InputError
from tallywright.score_period import DATE_COLUMN, Hour, columns_of, date_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tallywright.spec import ModelSpec, Project

_LONG: Final = """
    SELECT reject_reason AS reason, CAST(to_json(raw) AS VARCHAR) AS raw_row FROM raw ORDER BY ALL
"""
_REJECTED: Final = pa.schema([("reason", pa.string()), ("raw_row", pa.string())])
_CONTRACT: Final = "contract_rows"
_FEATURES: Final = "feature_rows"
_LABELS: Final = "label_rows"
_REASON: Final = "reject_reason"


def quarantine_rows(rejected: pa.Table) -> pa.Table:
    """Reason and JSON text of rows that have a `reject_reason`, sorted.

    The JSON object has the columns of the contract query, in its order.
    """
    if not rejected.num_rows:
        return pa.Table.from_batches([], _REJECTED)
    with connect() as connection:
        connection.register("raw", rejected)
        return connection.sql(_LONG).to_arrow_table().cast(_REJECTED)


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

    def __enter__(self) -> Self:
        self.content = read_sources(self._project)
        data = self._data
        queries = {_CONTRACT: data.contract, _LABELS: data.labels}
        queries |= {} if self._labels_only else {_FEATURES: data.features}
        self._queries = {
            relation: read_query(self._project.folder / file, self._parameters[relation], self._shown(file))
            for relation, file in queries.items()
        }
        self._engine = sql_engine(self._project)
        try:
            for name, files in self.content.files.items():
                self._engine.source(name, files)
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

    def day(self, day: date) -> RawDay:
        """The rows of one date, features and labels in key order."""
        key, spec = self._data.key, self._project.spec
        rejected = self._rejected(day)
        return RawDay(
            day=day,
            accepted=self.raw_rows(day) - rejected.num_rows,
            features=self._dated(self._engine.rows(_FEATURES, day, list(self._data.columns), order=key), day).select(
                feature_schema(spec).names
            ),
            labels=self.labels(day),
            label_schema=self._label_schema,
            rejected=self._dated(quarantine_rows(rejected), day),
            raw_digest=self.content.digest,
        )

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
        return self._engine.rows(_CONTRACT, day, self._columns, present=_REASON)

    def _require_same_files(self) -> None:
        """Refuses rows of queries under which a Parquet file was replaced: each query reads the files anew."""
        now = stamps_of(self._project)
        changed = sorted(path for path, stamp in self.content.unstaged.items() if now.get(path) != stamp)
        if changed:
            raise InputError(
                f"{', '.join(changed)} changed while the queries read it; nothing was changed",
                expected="raw files that stay as they are while they are read",
                remedy="run it again",
            )

    def _prepare(self) -> None:
        self._engine.keep(_CONTRACT, self._queries[_CONTRACT], self._check_contract)
        self._contract_days = self._days(_CONTRACT, self._data.contract, "lookback")
        accepted = ", ".join(quoted(name) for name in self._columns if name != _REASON)
        self._engine.view("accepted", f"SELECT {accepted} FROM {_CONTRACT} WHERE {_REASON} IS NULL")
        if not self._labels_only:
            self._engine.keep(_FEATURES, self._queries[_FEATURES], self._check_features)
            self._days(_FEATURES, self._data.features, "from")
        self._engine.keep(_LABELS, self._queries[_LABELS], self._check_labels)
        self._days(_LABELS, self._data.labels, "from")

    def _shown(self, file: str) -> str:
        """What messages call a query's file: its path in the project."""
        path = self._project.folder / file
        return str(path.relative_to(self._project.root)) if path.is_relative_to(self._project.root) else str(path)

    def _check_contract(self, found: pa.Schema) -> None:
        check_columns(found, pa.schema([self._period_field, (_REASON, pa.string())]), self._data.contract, others=True)
        self._columns = list(found.names)

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
        found = {self._period(value, file): rows for value, rows in by_value.items()}
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

    def _period(self, value: date | datetime | None, file: str) -> date | None:
        """The period of a value of the period's column.

        Raises:
            InputError: No period begins then.
        """
        if value is None:
            return None
        instant = value if isinstance(value, datetime) else None
        if instant is not None and instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        period = value if instant is None else self._calendar.period_at(instant)
        begins = period.instant == instant if isinstance(period, Hour) else self._calendar.is_period(period)
        if begins:
            return period
        raise InputError(
            f"{file}: rows have {self._period_field.name} {value}, and no {self._calendar.cadence} begins then",
            expected=self._calendar.form,
            remedy=f"truncate it to the {self._calendar.cadence}, such as with date_trunc",
        )
