"""SQL engines that run a model's queries: their protocol, the list that `data.engine` may name, and DuckDB.

An engine keeps the rows of a query by score date and hands out one date at a time, so memory follows the day and not
the range; what DuckDB cannot hold is spilled to the work folder. All that is checked about the rows is checked by
`transform` and `day_checks`, the same for each.
"""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, lock, run, sql_errors, text_literal
from tallywright.data.etl.queries import checked
from tallywright.data.etl.spark_engine import SparkSqlEngine
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, Hour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime

    import duckdb
    import pyarrow as pa

    from tallywright.data.etl.queries import Query, ReadyQuery
    from tallywright.spec import Project

_REMEDY = "correct the query, or the raw files it reads"


class SqlEngine(Protocol):
    """Runs queries over Parquet files for one range of score dates; has to be closed.

    A query that fails raises InputError and names its file; storage or a cluster that fails raises StorageError.
    """

    def source(self, name: str, files: Sequence[Path]) -> None:
        """Registers Parquet files as a relation, before any query; a column that some of them lack is null there."""

    def check(self, query: Query) -> None:
        """Refuses, without running it, what is not one SELECT that gives the same rows each time.

        Raises:
            SpecError: Names file and line.
        """

    def keep(self, relation: str, query: Query, check: Callable[[pa.Schema], None]) -> None:
        """Checks a query, runs it once and keeps its rows as a relation.

        Args:
            relation: Its name from now on.
            query: One SELECT, with the column of the period.
            check: Is given the columns before a row of them is used, and raises if they are not right.
        """

    def view(self, relation: str, query: str) -> None:
        """Gives a query over relations a name."""

    def days(self, relation: str) -> dict[date | datetime | None, int]:
        """The number of rows of a kept relation by the values of the period's column."""

    def rows(
        self, relation: str, day: date, columns: Sequence[str], *, order: Sequence[str] = (), present: str = ""
    ) -> pa.Table:
        """The rows of one period of a kept relation.

        Args:
            relation: What was kept.
            day: The score period.
            columns: Which columns, in which order.
            order: Columns to sort by: numbers by value, texts by their UTF-8 bytes.
            present: Only rows in which this column is not null.
        """

    def close(self) -> None:
        """Closes connections and deletes intermediate files."""


class DuckDbEngine:
    """DuckDB: queries become temporary tables of a private database, which is locked before the first of them."""

    def __init__(self, project: Project) -> None:
        self._period = project.spec.partition[-1]
        self._minutes = project.spec.data.sql_minutes
        self._files: list[str] = []
        self._columns: set[str] = set()
        self._is_locked = False
        self._ready: dict[tuple[str, str], ReadyQuery] = {}
        self._connection: duckdb.DuckDBPyConnection = connect(Path(project.environment.storage.work) / "spill")
        # As Spark SQL has it, so that ROW_NUMBER() picks the same row on both.
        self._connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")

    def source(self, name: str, files: Sequence[Path]) -> None:
        """A view over the files; columns that come from `key=value` folders are text."""
        listed = ", ".join(text_literal(str(file)) for file in files)
        scan = f"read_parquet([{listed}], union_by_name = true, hive_types_autocast = false)"
        with sql_errors(f"data.sources.{name}", "replace the damaged file"):
            self._connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {scan}")
            described = self._connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
        self._files += map(str, files)
        self._columns.update(row[0] for row in described)

    def check(self, query: Query) -> None:
        """Looks at the parsed tree."""
        self._ready[query.where, query.text] = checked(self._locked(), query, self._columns)

    def keep(self, relation: str, query: Query, check: Callable[[pa.Schema], None]) -> None:
        """Runs the query into a temporary table."""
        connection = self._locked()
        ready = self._ready.get((query.where, query.text)) or checked(connection, query, self._columns)
        statement = f"CREATE TEMP TABLE {quoted(relation)} AS {ready.text}"
        with sql_errors(query.where, _REMEDY):
            run(connection, lambda: connection.execute(statement, ready.values), query.where, minutes=self._minutes)
        check(self._fetch(f"SELECT * FROM {quoted(relation)} LIMIT 0").schema)

    def _locked(self) -> duckdb.DuckDBPyConnection:
        """The connection, which from now on reads the sources' files and its spilled rows, and no others."""
        if not self._is_locked:
            lock(self._connection, self._files)
            self._is_locked = True
        return self._connection

    def view(self, relation: str, query: str) -> None:
        """Creates the view."""
        self._connection.execute(f"CREATE VIEW {quoted(relation)} AS {query}")

    def days(self, relation: str) -> dict[date | datetime | None, int]:
        """Counts the rows by score period."""
        query = f"SELECT {self._period}, count(*) FROM {quoted(relation)} GROUP BY ALL"
        return {day: int(rows) for day, rows in self._connection.execute(query).fetchall()}

    def rows(
        self, relation: str, day: date, columns: Sequence[str], *, order: Sequence[str] = (), present: str = ""
    ) -> pa.Table:
        """Selects rows of the temporary table."""
        query = f"SELECT {_listed(columns)} FROM {quoted(relation)} WHERE {_is(day)}"
        if present:
            query += f" AND {quoted(present)} IS NOT NULL"
        return self._fetch(f"{query} ORDER BY {_listed(order)}" if order else query)

    def close(self) -> None:
        """Closes the database; its spilled files go with it."""
        self._connection.close()

    def _fetch(self, query: str) -> pa.Table:
        with sql_errors("reading a day", _REMEDY):
            return self._connection.sql(query).to_arrow_table()


def _is(period: date) -> str:
    """The condition that selects a period; an instant without a zone is UTC, as the session's is."""
    if isinstance(period, Hour):
        return f"{HOUR_COLUMN} = TIMESTAMP '{period.instant:%Y-%m-%d %H:%M:%S}'"
    return f"{DATE_COLUMN} = DATE '{period.isoformat()}'"


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in columns)


_ENGINES: Final[Mapping[str, Callable[[Project], SqlEngine]]] = {"duckdb": DuckDbEngine, "spark": SparkSqlEngine}


def sql_engine(project: Project) -> SqlEngine:
    """Opens the engine that the spec names.

    Raises:
        UsageError: What the engine needs is not installed.
        StorageError: It does not start.
    """
    return _ENGINES[project.spec.data.engine](project)
