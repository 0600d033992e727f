"""DuckDB connections with common settings, and DuckDB's errors as TallyErrors."""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tallywright.data.storage.filesystem import as_storage_error
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb


_SYSTEM_CODES: Final = (
    "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOENT", "ENOTDIR", "ESTALE", "EMFILE", "ENFILE",
    "ENODEV", "ENXIO", "EBUSY", "ENOMEM", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ENETUNREACH",
    "EHOSTUNREACH", "EPIPE", "EAGAIN", "EINTR", "ENAMETOOLONG", "ELOOP", "EISDIR",
)  # fmt: skip
_SYSTEM: Final = re.compile(
    "|".join(re.escape(os.strerror(getattr(errno, name))) for name in _SYSTEM_CODES)
    + "|HTTP|connection|timed? ?out|out of disk|failed to offload",
    re.IGNORECASE,
)
"""What DuckDB repeats of the operating system: disk, permission, network."""


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
    """Raises InputError for queries that fail in the block, StorageError when disk, network or memory does.

    DuckDB raises its IOException about files that are damaged too: only one with a cause of the operating system's is
    of storage, and worth a retry.

    Args:
        where: The SQL file or the source, as the first words of the message.
        remedy: What the author can do.
    """
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise as_storage_error(where, error) from error
    except duckdb.IOException as error:
        if _SYSTEM.search(str(error)):
            raise as_storage_error(where, error) from error
        raise InputError(f"{where}: {_brief(error)}", expected="files that can be read", remedy=remedy) from error
    except duckdb.Error as error:
        raise InputError(
            f"{where}: {_brief(error)}", expected="a query that runs on these sources", remedy=remedy
        ) from error


def _brief(error: duckdb.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:600]
