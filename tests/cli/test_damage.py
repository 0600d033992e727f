"""What reads a damaged lake ends with exit code 15, names file and date, and its remedy works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from damage import DAYS, add_rows, change_rows, delete_rows, flip, make_lake, put_back, remove, score, truncate
from deltalake import DeltaTable
from synthetic import DAY

import tallywright
from tallywright.errors import IntegrityError
from tallywright.spec import Project

TALLY = "import sys; from tallywright.cli.main import main; sys.argv[0] = 'tally'; main()"


@dataclass
class Damaged:
    """A project whose lake a test may damage, and its commands, each in a process of its own."""

    project: Project
    folder: Path

    def table(self, what: str) -> Path:
        return self.folder / f"shop__{what}"

    def file(self, what: str, day: object = DAY) -> Path:
        """The live file of a date."""
        return next(Path(uri) for uri in DeltaTable(self.table(what)).file_uris() if f"score_date={day}" in uri)

    def tally(self, *arguments: str, code: int) -> dict[str, object]:
        """Runs a command with `--json`; returns its error, or what it has printed."""
        command = [sys.executable, "-c", TALLY, *arguments, "--json", "--root", str(self.project.root)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TZ": "UTC"}, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        told = json.loads(done.stdout.strip().splitlines()[-1])
        return told["error"] if code else {"told": told}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path, Path]:
    root = tmp_path_factory.mktemp("damaged")
    project = make_lake(root)
    folder = Path(project.environment.storage.lake)
    kept = root / "kept"
    shutil.copytree(folder, kept)
    return project, folder, kept


@pytest.fixture
def lake(made: tuple[Project, Path, Path]) -> Iterator[Damaged]:
    project, folder, kept = made
    yield Damaged(project, folder)
    put_back(project, kept)


@pytest.mark.parametrize("damage", [truncate, pytest.param(remove, marks=pytest.mark.long)])
@pytest.mark.parametrize("what", ["scores", "drift"])
def test_a_query_of_a_table_with_a_damaged_file(lake: Damaged, what: str, damage: Callable[[Path], None]) -> None:
    file = lake.file(what) if what == "scores" else Path(DeltaTable(lake.table(what)).file_uris()[0])
    damage(file)
    error = lake.tally("query", f"select count(*) from shop__{what}", code=15)
    assert file.name in str(error["found"])
    assert error["type"] == "IntegrityError"
    if what == "scores":
        assert error["remedy"] == f"tally score shop --date {DAY}"
    # A table that is not asked for is in nobody's way.
    lake.tally("query", "select count(*) as days from shop__tallies", code=0)


@pytest.mark.parametrize("damage", [truncate, pytest.param(remove, marks=pytest.mark.long)])
@pytest.mark.parametrize("what", ["profile", "drift", "performance", "decisions"])
def test_a_report_over_a_table_with_a_damaged_file(lake: Damaged, what: str, damage: Callable[[Path], None]) -> None:
    file = Path(DeltaTable(lake.table(what)).file_uris()[0])
    damage(file)
    error = lake.tally("report", "shop", "--out", str(lake.folder.parent / "report.html"), code=15)
    assert file.name in str(error["found"])
    assert error["remedy"] == "tally verify shop --repair"


def _lose(lake: Damaged) -> None:
    remove(lake.file("scores"))


def _tear(lake: Damaged) -> None:
    truncate(lake.file("scores"))


def _flip(lake: Damaged) -> None:
    flip(lake.file("scores"))


def _add(lake: Damaged) -> None:
    add_rows(lake.table("scores"))


def _change(lake: Damaged) -> None:
    change_rows(lake.table("scores"))


def _delete(lake: Damaged) -> None:
    delete_rows(lake.table("scores"))


def _refusal(lake: Damaged, day: date) -> IntegrityError | None:
    try:
        tallywright.scores("shop", day, root=lake.project.root)
    except IntegrityError as error:
        return error
    return None


@pytest.mark.parametrize("damage", [_lose, _tear, _flip, _add, _change, _delete])
def test_scores_that_are_not_the_committed_ones_are_not_read_until_they_are_scored_again(
    lake: Damaged, damage: Callable[[Damaged], None]
) -> None:
    days = [DAYS[0]] if damage in {_lose, _tear, _flip} else list(DAYS)
    before = {day: tallywright.scores("shop", day, root=lake.project.root) for day in days}
    damage(lake)
    errors = {day: error for day in days if (error := _refusal(lake, day))}
    for day, error in errors.items():
        assert str(day) in error.found
        assert "score_date=" in error.found
        assert error.remedy == f"tally score shop --date {day}"
    assert errors
    for day in errors:
        score(lake.project, day)
        rows = tallywright.scores("shop", day, root=lake.project.root).sort_by("order_id")
        assert rows.column("probability").equals(before[day].sort_by("order_id").column("probability"))


def test_a_difference_to_a_day_that_is_damaged(lake: Damaged) -> None:
    change_rows(lake.table("scores"))
    score(lake.project, DAY)
    file = lake.file("scores")
    truncate(file)
    error = lake.tally("diff", "shop", str(DAY), code=15)
    assert file.name in str(error["found"])
    assert error["remedy"] == f"tally score shop --date {DAY}"
    score(lake.project, DAY)
    assert lake.tally("diff", "shop", str(DAY), "--generations", "1", "3", code=0)
