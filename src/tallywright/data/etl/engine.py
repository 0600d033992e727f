"""What runs a model's queries: one shape for every SQL engine, and the list of those that `data.engine` may name.

An engine keeps the rows of a query by score date and hands out one date at a time, so memory follows the day and not
the range. All that is checked about the rows is checked by `transform` and `day_checks`, the same for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from tallywright.data.etl.duckdb_engine import DuckDbEngine
from tallywright.data.etl.spark_engine import SparkEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    import pyarrow as pa

    from tallywright.spec import Project


class SqlEngine(Protocol):
    """Runs queries over Parquet files for one range of score dates; has to be closed.

    A query that fails raises InputError and names `where`; storage or a cluster that fails raises StorageError.
    """

    def source(self, name: str, files: Sequence[Path]) -> None:
        """Makes a relation of Parquet files; a column that some of them lack is null there."""

    def keep(self, relation: str, query: str, where: str, check: Callable[[pa.Schema], None]) -> None:
        """Runs a query once and keeps its rows as a relation.

        Args:
            relation: Its name from now on.
            query: One SELECT, with a column `score_date`.
            where: The file of the query, for messages.
            check: Is given the columns before a row of them is used, and raises if they are not right.
        """

    def view(self, relation: str, query: str) -> None:
        """Gives a query over relations a name."""

    def days(self, relation: str) -> dict[date | None, int]:
        """The number of rows by score date of what was kept."""

    def rows(
        self, relation: str, day: date, columns: Sequence[str], *, order: Sequence[str] = (), present: str = ""
    ) -> pa.Table:
        """Kept rows of one date.

        Args:
            relation: What was kept.
            day: The score date.
            columns: Which columns, in which order.
            order: Columns to sort by: numbers by value, texts by their UTF-8 bytes.
            present: Only rows in which this column is not null.
        """

    def close(self) -> None:
        """Gives up connections and intermediate files."""


_ENGINES: Final[Mapping[str, Callable[[Project], SqlEngine]]] = {"duckdb": DuckDbEngine, "spark": SparkEngine}


def sql_engine(project: Project) -> SqlEngine:
    """The engine that the spec asks for, opened.

    Raises:
        UsageError: What the engine needs is not installed.
        StorageError: It does not start.
    """
    return _ENGINES[project.spec.data.engine](project)
