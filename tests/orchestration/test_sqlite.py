from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tallywright.orchestration.embedded.sqlite import CONNECT_ARGS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "airflow.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE run (id INTEGER)")
        database.commit()
    return path


@pytest.fixture
def scheduler(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as database:
        yield database


def read_then_write(database: sqlite3.Connection, other: sqlite3.Connection) -> None:
    """What Airflow does when it makes a backfill, with another process's commit in between."""
    cursor = database.cursor()
    cursor.execute("SAVEPOINT one")
    cursor.execute("SELECT count(*) FROM run").fetchall()
    other.execute("INSERT INTO run VALUES (1)")
    cursor.execute("DELETE FROM run")


def test_without_them_a_savepoint_that_has_read_cannot_write(file: Path, scheduler: sqlite3.Connection) -> None:
    with (
        closing(sqlite3.connect(file, timeout=60)) as database,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        read_then_write(database, scheduler)


def test_with_them_the_other_writer_waits_its_turn(file: Path, scheduler: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(file, **CONNECT_ARGS)) as database:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            read_then_write(database, scheduler)  # the scheduler's connection has no patience in this test
        database.cursor().execute("DELETE FROM run")
        database.commit()
        scheduler.execute("INSERT INTO run VALUES (2)")
        assert database.cursor().execute("SELECT id FROM run").fetchall() == [(2,)]
