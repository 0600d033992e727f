"""SQL engines that run a model's queries: their protocol, the list that `data.engine` may name, and DuckDB.

An engine keeps the rows of a query by score date and hands out one date at a time, so memory follows the day and not
the range; what DuckDB cannot hold is spilled to the work folder. All that is checked about the rows is checked by
`transform` and `day_checks`, the same for each.
"""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import close, connect, lock, parquet_rows, run, sql_errors, text_literal
from tallywright.data.etl.queries import checked
from tallywright.data.etl.spark_engine import SparkSqlEngine
from tallywright.data.raw.parquet_files import nanosecond_columns
from tallywright.data.raw.relation import numbered_name
from tallywright.data.raw.typed import LINE_BITS
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, Hour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime

    import duckdb
    import pyarrow as pa

    from tallywright.data.etl.queries import Query, ReadyQuery
    from tallywright.data.raw.relation import Relation
    from tallywright.spec import Project

_REMEDY = "correct the query, or the raw files it reads"


class SqlEngine(Protocol):
    """Runs queries over Parquet files for one range of score dates; has to be closed.

    A query that fails raises InputError and names its file; storage or a cluster that fails raises StorageError.
    """

    def source(self, name: str, source: Relation, *, numbered: bool = False, unreadable: bool = False) -> None:
        """Registers a source as the relation of its name, in place of one; a column that a file lacks is null there.

        `numbered_name(name)` has a column more: `source_row`, the number of the raw row.

        Args:
            name: Of the source.
            source: Its files.
            numbered: Give `source_row` to the relation of its own name too.
            unreadable: The rows with a cell that is none of its type, instead of all others.
        """

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
        self._ready: dict[Query, ReadyQuery] = {}
        self._connection: duckdb.DuckDBPyConnection = connect(Path(project.environment.storage.work) / "spill")
        # Rows in one order: of several threads each adds up its own, and a sum of fractions differs in its last digits.
        self._connection.execute("SET threads = 1")
        # As Spark SQL has it, so that ROW_NUMBER() picks the same row on both.
        self._connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")

    def source(self, name: str, source: Relation, *, numbered: bool = False, unreadable: bool = False) -> None:
        """Two views over the files; what folders are called decides nothing."""
        options = ["hive_partitioning = false"]
        if source.key_columns:
            options.append(f"filename = {text_literal(source.file_as)}")
        scan = parquet_rows(map(no_pattern, source.paths), *options)
        instants = {} if source.number else nanosecond_columns(source.paths)
        named = [_cut(column) if instants.get(column) is False else quoted(column) for column in source.columns]
        named += [f"{_by_file(source, key)} AS {quoted(key)}" for key in source.key_columns]
        number = quoted(source.number) if source.number else f"(file_index << {LINE_BITS}) + file_row_number + 1"
        if source.has_own_numbers:
            number = "NULL"
        counted = [*named, f"CAST({number} + {source.offset} AS BIGINT) AS {quoted(source.numbered_as)}"]
        kept = f" WHERE {quoted(source.reason)} IS {'NOT ' * unreadable}NULL" if source.unreadable else ""
        views = {name: counted if numbered else named, numbered_name(name): counted}
        with sql_errors(f"data.sources.{name}", "replace the damaged file"):
            for view, columns in views.items():
                query = f"SELECT {', '.join(columns)} FROM {scan}{kept}"
                self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(view)} AS {query}")
        if not self._is_locked:
            self._files += [name for path in source.paths for name in {str(path), no_pattern(path)}]
        self._columns.update((*source.columns, *source.key_columns))

    def check(self, query: Query) -> None:
        """Looks at the parsed tree."""
        self._ready[query] = checked(self._locked(), query, self._columns)

    def keep(self, relation: str, query: Query, check: Callable[[pa.Schema], None]) -> None:
        """Runs the query into a temporary table."""
        connection = self._locked()
        ready = self._ready.get(query) or checked(connection, query, self._columns)
        statement = f"CREATE OR REPLACE TEMP TABLE {quoted(relation)} AS {ready.text}"
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
        with sql_errors(relation, _REMEDY):
            self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(relation)} AS {query}")

    def days(self, relation: str) -> dict[date | datetime | None, int]:
        """Counts the rows by score period."""
        query = f"SELECT {self._period}, count(*) FROM {quoted(relation)} GROUP BY ALL"
        with sql_errors(f"counting {relation}", _REMEDY):
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
        close(self._connection)

    def _fetch(self, query: str) -> pa.Table:
        with sql_errors("reading a day", _REMEDY):
            return self._connection.sql(query).to_arrow_table()


def no_pattern(path: Path) -> str:
    """A path that DuckDB does not take for a pattern of paths."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _cut(column: str) -> str:
    """SQL for an instant of nanoseconds, cut to the microsecond; a cast would round it."""
    return f"make_timestamp(epoch_ns({quoted(column)}) // 1000) AS {quoted(column)}"


def _by_file(source: Relation, key: str) -> str:
    """SQL for what a folder says, by the file that lies in it."""
    said = [(str(path), keys[key]) for path, keys in zip(source.paths, source.keys, strict=True)]
    cases = " ".join(
        f"WHEN {text_literal(path)} THEN {'NULL' if value is None else text_literal(value)}" for path, value in said
    )
    # By its path, since a raw file may have a `file_index` of its own; a file that is none of them would be an error.
    return f"CAST(CASE {quoted(source.file_as)} {cases} ELSE error('a file of another folder') END AS VARCHAR)"


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
