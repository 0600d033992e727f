"""Damage that no seal tells of is found by what the tables say of one another, and a lake that a run left is sound."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from damage import DAYS, NOW, make_lake, newest_commit, put, put_back, score
from synthetic import DAY

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.labels import LabelWriter
from tallywright.data.etl.reading import Reading
from tallywright.data.fingerprint import RowDigest, digest
from tallywright.data.upkeep.repair import restore
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.verify.findings import Defect
from tallywright.lifecycle.verify.model import verify_model
from tallywright.lifecycle.verify.records import verify_labels
from tallywright.spec import Project

REPAIR = "tally verify shop --repair"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    root = tmp_path_factory.mktemp("crossed")
    project = make_lake(root)
    shutil.rmtree(Path(project.environment.storage.lake, "shop__verified"))
    shutil.copytree(project.environment.storage.lake, root / "kept")
    return project, root / "kept"


@pytest.fixture
def project(kept: tuple[Project, Path]) -> Iterator[Project]:
    yield kept[0]
    put_back(*kept)


def _table(project: Project, what: str) -> Path:
    return Path(project.environment.storage.lake, f"shop__{what}")


def _found(project: Project) -> list[Defect]:
    found = verify_model(project, Lake.of(project.environment), now=NOW)
    shutil.rmtree(_table(project, "verified"))  # nothing is sealed
    return found


def _edit(commit: Path, pattern: str, other: str) -> None:
    text = commit.read_text(encoding="utf-8")
    edited = re.sub(pattern, other, text, count=1)
    assert edited != text
    commit.write_text(edited, encoding="utf-8")


def test_a_lake_without_seals_stands(project: Project) -> None:
    assert _found(project) == []


def _edit_added(commit: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits the action of a commit that adds a file."""
    lines = [json.loads(line) for line in commit.read_text(encoding="utf-8").splitlines()]
    (added,) = (line["add"] for line in lines if "add" in line)
    edit(added)
    commit.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def _narrow(added: dict[str, Any]) -> None:
    stats = json.loads(added["stats"])
    stats["maxValues"]["order_id"] = "a"
    added["stats"] = json.dumps(stats)


def _count_nulls(added: dict[str, Any]) -> None:
    stats = json.loads(added["stats"])
    stats["nullCount"]["order_id"] = 7
    added["stats"] = json.dumps(stats)


def _move(added: dict[str, Any]) -> None:
    added["partitionValues"]["score_date"] = "2034-03-03"


@pytest.mark.parametrize("edit", [_narrow, _count_nulls, _move])
def test_what_a_log_says_of_a_file_is_compared_with_it_and_made_right(project: Project, edit) -> None:
    tables = ("scores", "features", "labels")
    before = _digests(project, tables)
    for what in tables:
        _edit_added(newest_commit(_table(project, what)), edit)
    found = {(one.what, one.score_date): one.remedy for one in _found(project)}
    assert {found.get((f"shop__{what}", DAYS[-1])) for what in tables} == {REPAIR}
    for what in tables:
        assert restore(Lake(project.environment.storage.lake), f"shop__{what}")
    assert _found(project) == []
    assert _digests(project, tables) == before


def _digests(project: Project, tables: Iterable[str]) -> list[RowDigest]:
    rows = [Lake(project.environment.storage.lake).read(f"shop__{what}") for what in tables]
    return [digest(table, table.column_names) for table in rows]


def test_versions_that_a_log_gives_to_its_dates_are_its_own(project: Project) -> None:
    for what in ("scores", "labels"):
        _edit(newest_commit(_table(project, what)), r'("txn":\{[^}]*"version":)\d', r"\g<1>9")
    found = {one.what: one for one in _found(project)}
    assert found["shop__scores"].problem == "the log numbers it generation 9, its newest tally is generation 1"
    assert "says 9" in found["shop__labels"].problem
    assert found["shop__scores"].remedy == f"tally score shop --date {DAYS[-1]} --force"
    run_step(RunContext(project, DAYS[-1], "again", RunOptions(force=True)), "score")
    assert [one.what for one in _found(project)] == ["shop__labels"]


def test_the_manifest_of_a_log_is_the_one_that_was_recorded(project: Project) -> None:
    _edit(newest_commit(_table(project, "scores")), r'(\\"models\\":\[\{.*?\\"version\\":)1', r"\g<1>7")
    (one,) = _found(project)
    assert one.problem == "the manifest of generation 1 in the log is not the one that was recorded"
    assert one.remedy == f"tally score shop --date {DAYS[-1]} --force"
    run_step(RunContext(project, DAYS[-1], "again", RunOptions(force=True)), "score")
    score(project, DAYS[-1])
    assert _found(project) == []


def _deep(project: Project) -> list[Defect]:
    return list(verify_labels(Lake.of(project.environment), project.spec, lambda _: True, deep=True))


def _write_labels(project: Project, day, status: str) -> LabelWriter:
    lake = Lake.of(project.environment)
    rows = lake.read("shop__labels", where={"score_date": day})
    known = pa.array([status] * rows.num_rows)
    place = rows.schema.get_field_index("label_status")
    writer = LabelWriter(lake, project.spec, day)
    writer.write(day, rows.set_column(place, "label_status", known), Reading.before(lake, project.spec, [day]))
    return writer


def test_labels_are_those_of_their_last_reading(project: Project) -> None:
    """The newest commit of a date is gone: what stands is the one before it, and the reading knows the newer one."""
    _write_labels(project, DAY, "missing").record()
    assert _deep(project) == _found(project) == []
    newest_commit(_table(project, "labels")).unlink()
    (one,) = _found(project)
    assert (one.what, one.score_date) == ("shop__labels", DAY)
    assert one.problem == "its labels are older than those that were last read"
    assert one.remedy == f"tally ingest shop --date {DAY}"


def test_labels_that_a_killed_run_could_not_record_are_no_damage(project: Project) -> None:
    _write_labels(project, DAY, "missing")
    assert _deep(project) == _found(project) == []


def test_a_table_of_labels_that_were_read_is_not_gone(project: Project) -> None:
    shutil.rmtree(_table(project, "labels"))
    assert ("shop__labels", "the table is gone, and its labels were read") in [
        (one.what, one.problem) for one in _found(project)
    ]


def test_a_day_that_was_scored_and_no_more_is_no_damage(project: Project) -> None:
    """As after a kill between score and monitor."""
    day = DAYS[-1].replace(day=DAYS[-1].day + 1)
    put(Lake.of(project.environment), project, day)
    run_step(RunContext(project, day, "killed"), "score")
    assert _found(project) == []
