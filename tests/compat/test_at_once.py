"""The same transition asked by three processes at once, with MLflow on SQLite: all succeed, and one line is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forked_tally import run_tally
from old_lake import ARCHIVE, MODEL, OldLake, unpack

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROMOTE = ("promote", MODEL, "--version", "2", "--effective-from", "2025-01-29", "--by", "me")
ROLLBACK = ("rollback", MODEL, "--effective-from", "2025-01-30", "--by", "me", "--reason", "complaints")


def _by_three(old: OldLake, command: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of the log, after three processes have done the same at once and none of them failed."""
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: run_tally(command, old.root, os.environ), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert not any("Traceback" in one.stderr for one in done)
    lines: list[dict[str, Any]] = old.json("history", MODEL)
    return lines


def _requires_its_aliases(old: OldLake) -> None:
    (check,) = (row for row in old.json("doctor") if row["check"] == f"registry {MODEL}")
    assert check["verdict"] == "pass", check


def test_three_promotions_at_once_are_one_line_and_no_failure(tmp_path: Path) -> None:
    old = unpack(ARCHIVE, tmp_path / "project")
    before = len(old.json("history", MODEL))
    assert len(_by_three(old, PROMOTE)) == before + 1
    _requires_its_aliases(old)
    assert len(_by_three(old, ROLLBACK)) == before + 2
    _requires_its_aliases(old)
