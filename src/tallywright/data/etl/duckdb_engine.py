"""A model's queries on DuckDB, inside this process; what does not fit into memory is spilled to the work folder."""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.data.delta.slices import quoted
from tallywright.data.embedded_sql import connect, sql_errors, text_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    import duckdb
    import pyarrow as pa

    from tallywright.spec import Project

_REMEDY = "correct the query, or the raw files it reads"


class DuckDbEngine:
    """Queries become temporary tables of a private database."""

    def __init__(self, project: Project) -> None:
        self._connection: duckdb.DuckDBPyConnection = connect(Path(project.environment.storage.work) / "spill")
        # As Spark SQL has it, so that ROW_NUMBER() picks the same row on both.
        self._connection.execute("SET default_null_order = 'nulls_first_on_asc_last_on_desc'")

    def source(self, name: str, files: Sequence[Path]) -> None:
        """A view over the files; columns that come from `key=value` folders are text."""
        listed = ", ".join(text_literal(str(file)) for file in files)
        scan = f"read_parquet([{listed}], union_by_name = true, hive_types_autocast = false)"
        with sql_errors(f"data.sources.{name}", "replace the damaged file"):
            self._connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT * FROM {scan}")

    def keep(self, relation: str, query: str, where: str, check: Callable[[pa.Schema], None]) -> None:
        """Runs the query into a temporary table."""
        with sql_errors(where, _REMEDY):
            self._connection.execute(f"CREATE TEMP TABLE {quoted(relation)} AS {query}")
        check(self._fetch(f"SELECT * FROM {quoted(relation)} LIMIT 0").schema)

    def view(self, relation: str, query: str) -> None:
        """Creates the view."""
        self._connection.execute(f"CREATE VIEW {quoted(relation)} AS {query}")

    def days(self, relation: str) -> dict[date | None, int]:
        """Counts the rows by score date."""
        query = f"SELECT score_date, count(*) FROM {quoted(relation)} GROUP BY score_date"
        return {day: int(rows) for day, rows in self._connection.execute(query).fetchall()}

    def rows(
        self, relation: str, day: date, columns: Sequence[str], *, order: Sequence[str] = (), present: str = ""
    ) -> pa.Table:
        """Selects rows of the temporary table."""
        query = f"SELECT {_listed(columns)} FROM {quoted(relation)} WHERE score_date = DATE '{day.isoformat()}'"
        if present:
            query += f" AND {quoted(present)} IS NOT NULL"
        return self._fetch(f"{query} ORDER BY {_listed(order)}" if order else query)

    def close(self) -> None:
        """Closes the database; its spilled files go with it."""
        self._connection.close()

    def _fetch(self, query: str) -> pa.Table:
        with sql_errors("reading a day", _REMEDY):
            return self._connection.sql(query).to_arrow_table()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in columns)
