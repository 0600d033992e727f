"""Connection arguments that keep "database is locked" out of an Airflow on SQLite.

Airflow opens savepoints, reads, then writes. In SQLite a savepoint starts a deferred transaction, and one that has read
fails at its first write, without waiting, when anybody has committed in between: `airflow backfill create` beside a
busy scheduler. A transaction that takes the write lock at its start waits for its turn instead.

Named in `AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS`; not for other databases.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        """Runs a statement; a savepoint outside of a transaction opens one that may write."""
        if sql.startswith("SAVEPOINT") and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")
        super().execute(sql, parameters)
        return self


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        """A cursor with the rule above."""
        return super().cursor(factory)


CONNECT_ARGS: Final[dict[str, Any]] = {"factory": _Connection, "isolation_level": "IMMEDIATE", "timeout": 60}
