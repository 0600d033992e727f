"""DuckDB connections with common settings, and DuckDB's errors as TallyErrors."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallywright.data.storage.filesystem import as_storage_error
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb


def connect(spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A private in-memory database in UTC that installs nothing from the network.

    Args:
        spill: Where intermediate results go that do not fit into memory.
    """
    import duckdb  # here, because steps that only ask what was ingested load this module too

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET python_enable_replacements = false")  # a Python variable is never a table
    if spill is not None:
        connection.execute(f"SET temp_directory = {text_literal(str(spill))}")
    return connection


def text_literal(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def sql_errors(where: str, remedy: str) -> Iterator[None]:
    """Raises InputError for queries that fail in the block, StorageError when disk or memory does.

    Args:
        where: The SQL file or the source, as the first words of the message.
        remedy: What the author can do.
    """
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise as_storage_error(where, error) from error
    except duckdb.Error as error:
        raise InputError(
            f"{where}: {_brief(error)}", expected="a query that runs on these sources", remedy=remedy
        ) from error


def _brief(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:600]
