"""A project whose lake an earlier version wrote: packed without its place, unpacked anywhere, asked for its answers."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from forked_tally import run_tally

ARCHIVE: Final = Path(__file__).resolve().parents[1] / "fixtures" / "lake-f58f321.tar.xz"
EXPECTED: Final = "expected.json"
"""The file in the archive with what the earlier version itself answered."""
MODEL: Final = "late_orders"
PLACE: Final = "/@PROJECT@"
"""Stands in the archive for the folder of the project."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class OldLake:
    """The project's folder, and the `tally` command run in it; `environment` is what that has besides this one's."""

    root: Path
    environment: tuple[tuple[str, str], ...] = ()
    forked: bool = False
    """Whether the commands are those of the version under test, which has imported its packages already."""

    def tally(self, *arguments: str) -> str:
        """What the command prints; it must succeed."""
        environment = dict(os.environ) | dict(self.environment)
        if self.forked:
            done = run_tally(arguments, self.root, environment)
        else:
            command = [sys.executable, "-m", "tallywright", *arguments]
            done = subprocess.run(
                command, cwd=self.root, capture_output=True, text=True, check=False, timeout=240, env=environment
            )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What the command prints for programs."""
        return json.loads(self.tally(*arguments, "--json"))

    def rows(self, columns: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
        """All rows of these tables, of these columns alone (all of them where none is named)."""
        lists = [
            f'(SELECT list(t) FROM (SELECT {", ".join(map(_quoted, names)) or "*"} FROM {table}) t) AS "{table}"'
            for table, names in columns.items()
        ]
        (found,) = self.json("query", f"SELECT {', '.join(lists)}")
        return {table: rows or [] for table, rows in found.items()}

    def versions(self) -> dict[str, int]:
        """The last version of each table."""
        logs = self.root.glob(".tally/lake/*/_delta_log")
        return {log.parent.name: max(int(commit.stem) for commit in log.glob("*.json")) for log in sorted(logs)}


def _quoted(name: str) -> str:
    return f'"{name}"'


def summary(rows: Rows) -> dict[str, Any]:
    """A table in few words, whatever the order of its rows: how many, a digest of all, and one of each column."""
    names = sorted(rows[0]) if rows else []
    columns = {name: _digest(row[name] for row in rows) for name in names}
    return {"rows": len(rows), "digest": _digest(rows), "columns": columns}


def _digest(values: Iterable[Any]) -> str:
    texts = sorted(json.dumps(value, sort_keys=True) for value in values)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def unpack(archive: Path, root: Path) -> OldLake:
    """Unpacks the project into a folder and tells MLflow's store that it is there."""
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")
    readdress(root / ".tally/mlflow.db", PLACE, str(root))
    return OldLake(root, forked=True)


def readdress(store: Path, old: str, new: str) -> None:
    """MLflow keeps absolute addresses, in more than one table: `old` becomes `new` in every text of every table."""
    with closing(sqlite3.connect(store)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (old, new, old),
                )
        database.commit()
        database.execute("VACUUM")
