"""DuckDB connections with common settings, DuckDB's errors as TallyErrors, and queries that can be stopped.

Whoever runs the text of a user locks the connection first: from then on the engine reads the files that it was given,
opens no network, loads no extension, keeps no secret and changes no setting, whatever the text says.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from tallywright.data.storage.filesystem import as_storage_error
from tallywright.errors import InputError, SpecError, StorageError
from tallywright.interruption import leave_running, stopped_by
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import duckdb

Found = TypeVar("Found")
_SAID_AFTER: Final = 30.0
"""Seconds after which a line says what runs."""
_STOPS_WITHIN: Final = 1.0
"""Seconds in which an interrupted query ends; it is left alone after that."""
_CLOSED: Final = (
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "allow_community_extensions",
    "allow_persistent_secrets",
    "enable_external_access",
)
_LINE: Final = re.compile(r"\bLINE (\d+):")


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


class QueryTimeError(InputError):
    """A query that took longer than it may."""


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
    # It takes bounds for values: `max` of a Parquet file that may have a NaN (see `parquet_rows`) would be NaN.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    if spill is not None:
        connection.execute(f"SET temp_directory = {text_literal(str(spill))}")
    return connection


def parquet_rows(files: Iterable[str], *options: str) -> str:
    """A relation of the rows of Parquet files, their columns by name; no other text reads Parquet.

    The minimum and maximum in a Parquet file leave NaN out, whoever has written it, and the engine decides by them
    which rows it reads; told that there may be one, it looks at rows where only a NaN can answer.

    Args:
        files: Paths or patterns.
        options: More of `read_parquet`, as SQL.
    """
    listed = ", ".join(text_literal(file) for file in files)
    return f"read_parquet([{listed}], {', '.join(('union_by_name = true', 'can_have_nan = true', *options))})"


def lock(connection: duckdb.DuckDBPyConnection, files: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
    """From here on the connection reaches these files and folders (and its spill folder) and nothing else, for good.

    Args:
        connection: Its user's text has not been given to it yet.
        files: Paths as the queries name them.
        folders: With all that is below them; prefer files, as a folder may be written to as well.
    """
    connection.execute(f"SET allowed_paths = [{', '.join(map(text_literal, files))}]")
    connection.execute(f"SET allowed_directories = [{', '.join(map(text_literal, folders))}]")
    for setting in _CLOSED:
        connection.execute(f"SET {setting} = false")
    connection.execute("SET lock_configuration = true")


def text_literal(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def run(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], Found], what: str, *, minutes: float | None = None
) -> Found:
    """The result of work on a connection, which a signal or the end of its time stops.

    The engine does not look at signals while it works: so it works in a thread, and this one waits.

    Args:
        connection: What works.
        work: Called once.
        what: What runs, for the line that is written when it takes long.
        minutes: How long it may take; None is no limit.

    Raises:
        QueryTimeError: It took longer.
    """
    results: list[Found] = []
    failures: list[BaseException] = []
    ended = threading.Event()

    def worked() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below, by the thread that waits
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=worked, name="sql", daemon=True).start()
    try:
        with stopped_by(connection.interrupt):
            in_time = _waited(ended, what, minutes)
    except BaseException:
        _interrupt(connection, ended)
        raise
    if not in_time:
        _interrupt(connection, ended)
        raise QueryTimeError(
            f"{what}: the query has not ended after {minutes:g} minutes and was stopped; nothing was changed",
            expected="SQL that ends within data.sql_minutes",
            remedy="look for a recursion without an end or a join without a condition; or raise data.sql_minutes",
        )
    if failures:
        raise failures[0]
    return results[0]


def _waited(ended: threading.Event, what: str, minutes: float | None) -> bool:
    """Waits for the end, and says what it waits for; False when time is up."""
    limit = None if minutes is None else minutes * 60
    first = _SAID_AFTER if limit is None else min(_SAID_AFTER, limit)
    if ended.wait(first):
        return True
    if limit is not None and limit <= first:
        return False
    log.info(
        "%s has been running for %d seconds%s",
        what,
        first,
        "" if minutes is None else f"; its limit is {minutes:g} min",
    )
    return ended.wait(None if limit is None else limit - first)


def _interrupt(connection: duckdb.DuckDBPyConnection, ended: threading.Event) -> None:
    """Stops what runs on a connection; an interruption that comes before its start would be lost, so again.

    Within a value the engine does not look for one: what makes a single giant is left running.
    """
    for _ in range(round(_STOPS_WITHIN / 0.02)):
        connection.interrupt()
        if ended.wait(0.02):
            return
    leave_running()


def close(connection: duckdb.DuckDBPyConnection) -> None:
    """Closes a connection; one that works still is left to the end of the process."""
    import duckdb

    with suppress(duckdb.Error):
        connection.close()


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
    except duckdb.PermissionException as error:
        raise SpecError(
            f"{where}{line_of(error)}: it reaches beyond the sources: {brief(error)}",
            expected="SQL over data.sources and `accepted`, and no other file",
            remedy="declare the file as a source in data.sources",
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, error) from error
    except duckdb.IOException as error:
        if _SYSTEM.search(str(error)):
            raise as_storage_error(where, error) from error
        raise InputError(f"{where}: {brief(error)}", expected="files that can be read", remedy=remedy) from error
    except duckdb.Error as error:
        raise InputError(
            f"{where}: {brief(error)}", expected="a query that runs on these sources", remedy=remedy
        ) from error


def out_of_memory(where: str, error: Exception) -> StorageError:
    """The error about a query that needs more memory, or more room to spill, than there is."""
    return StorageError(
        f"{where}: {brief(error)}",
        expected="a query whose intermediate results fit into the memory and the work folder of this machine",
        remedy="aggregate less at once: a list or a text of a whole group, and a single giant value, stay in memory; "
        "or use a machine with more of it",
    )


def line_of(error: Exception) -> str:
    """The line that DuckDB names, to be put behind the name of the file."""
    found = _LINE.search(str(error))
    return f" line {found[1]}" if found else ""


def brief(error: Exception) -> str:
    """What DuckDB says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:600]
