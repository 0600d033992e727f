"""One run of a model's three queries over its raw sources, for a whole range of score dates.

The queries run once; then each day is fetched by itself, so memory follows the day and not the range.
"""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa

from tallywright.data.day_checks import check_columns, label_schema, with_stored_target
from tallywright.data.engine import connect, sql_errors, text_literal
from tallywright.data.slices import quoted
from tallywright.data.sources import stage_sources
from tallywright.data.sql import date_parameters, read_query
from tallywright.data.types import feature_schema
from tallywright.errors import InputError

if TYPE_CHECKING:
    from datetime import date
    from types import TracebackType

    import duckdb

    from tallywright.spec import Project

_CONTRACT: Final = "contract_rows"
_FEATURES: Final = "feature_rows"
_LABELS: Final = "label_rows"
_REMEDY: Final = "correct the query, or the raw files it reads"


@dataclass(frozen=True, slots=True)
class RawDay:
    """What the queries return for one score date, not checked yet."""

    day: date
    accepted: int
    features: pa.Table
    labels: pa.Table
    label_schema: pa.Schema
    rejected: pa.Table


class RawRun:
    """The queries of a project over one range; a context manager that owns its database.

    Raises:
        SpecError: A query that is missing or not a plain query.
        InputError: A query that fails, or whose columns are not those of the spec.
    """

    def __init__(self, project: Project, first: date, last: date) -> None:
        self._project = project
        self._data = project.spec.data
        self._parameters = date_parameters(first, last, self._data.lookback_days)
        self._connection: duckdb.DuckDBPyConnection = connect(Path(project.environment.storage.work) / "spill")
        self._accepted: dict[date, int] = {}

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def day(self, day: date) -> RawDay:
        """The rows of one date, features and labels in key order."""
        keys = ", ".join(quoted(name) for name in self._data.key)
        features = ", ".join(quoted(name) for name in ["score_date", *self._data.columns])
        labels = ", ".join(quoted(name) for name in self._label_schema.names)
        rejected = (
            f"SELECT score_date, reject_reason AS reason, CAST(to_json(raw) AS VARCHAR) AS raw_row "
            f"FROM {_CONTRACT} raw WHERE {self._on(day)} AND reject_reason IS NOT NULL ORDER BY ALL"
        )
        return RawDay(
            day=day,
            accepted=self._accepted.get(day, 0),
            features=self._fetch(f"SELECT {features} FROM {_FEATURES} WHERE {self._on(day)} ORDER BY {keys}"),
            labels=self._fetch(f"SELECT {labels} FROM {_LABELS} WHERE {self._on(day)} ORDER BY {keys}"),
            label_schema=self._label_schema,
            rejected=self._fetch(rejected),
        )

    def _prepare(self) -> None:
        for name, files in stage_sources(self._project, self._connection).items():
            listed = ", ".join(text_literal(str(file)) for file in files)
            with sql_errors(f"data.sources.{name}", "replace the damaged file"):
                self._connection.execute(
                    f"CREATE VIEW {quoted(name)} AS SELECT * FROM read_parquet([{listed}], union_by_name = true)"
                )
        self._run(_CONTRACT, self._data.contract)
        required = pa.schema([("score_date", pa.date32()), ("reject_reason", pa.string())])
        check_columns(self._schema(_CONTRACT), required, self._data.contract, others=True)
        self._require_dates(_CONTRACT, self._data.contract, "lookback_date")
        self._connection.execute(
            f"CREATE VIEW accepted AS SELECT * EXCLUDE (reject_reason) FROM {_CONTRACT} WHERE reject_reason IS NULL"
        )
        self._count()
        self._run(_FEATURES, self._data.features)
        check_columns(self._schema(_FEATURES), feature_schema(self._project.spec), self._data.features)
        self._require_dates(_FEATURES, self._data.features, "from_date")
        self._run(_LABELS, self._data.labels)
        found = self._schema(_LABELS)
        self._label_schema = label_schema(self._project.spec, found)
        check_columns(with_stored_target(self._project.spec, found), self._label_schema, self._data.labels)
        self._require_dates(_LABELS, self._data.labels, "from_date")

    def _run(self, relation: str, file: str) -> None:
        query = read_query(self._project.folder / file, self._parameters)
        with sql_errors(str(self._project.folder / file), _REMEDY):
            self._connection.execute(f"CREATE TEMP TABLE {relation} AS {query}")

    def _count(self) -> None:
        query = "SELECT score_date, count(*) FROM accepted GROUP BY score_date"
        self._accepted = {day: int(rows) for day, rows in self._connection.execute(query).fetchall()}

    def _require_dates(self, relation: str, file: str, from_parameter: str) -> None:
        low, high = self._parameters[from_parameter], self._parameters["to_date"]
        outside = f"score_date IS NULL OR score_date NOT BETWEEN DATE '{low}' AND DATE '{high}'"
        query = f"SELECT count(*), min(score_date) FROM {relation} WHERE {outside}"
        rows, example = self._connection.execute(query).fetchall()[0]
        if rows:
            raise InputError(
                f"{file}: {rows} rows have score_date {'null' if example is None else f'{example} (and others)'}",
                expected=f"score dates from {low} to {high}",
                remedy=f"end the query with WHERE score_date BETWEEN :{from_parameter} AND :to_date",
            )

    def _schema(self, relation: str) -> pa.Schema:
        return self._fetch(f"SELECT * FROM {relation} LIMIT 0").schema

    def _fetch(self, query: str) -> pa.Table:
        with sql_errors("reading a day", _REMEDY):
            return self._connection.sql(query).to_arrow_table()

    @staticmethod
    def _on(day: date) -> str:
        return f"score_date = DATE '{day.isoformat()}'"
