"""A run seals what it wrote: what happens to it before the next verification is found too, and never sealed over."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import DAYS, NOW, make_lake, newest_commit, put_back, score
from deltalake import DeltaTable
from synthetic import DAY

from tallywright.data.delta.lake import Lake
from tallywright.errors import StorageError
from tallywright.lifecycle import seals
from tallywright.lifecycle.context import RunContext, RunOptions
from tallywright.lifecycle.run import run_step
from tallywright.lifecycle.seals import seal_run, seals_in, verified_rows
from tallywright.lifecycle.verify.model import verify_model
from tallywright.lifecycle.verify.repair import repair_model
from tallywright.spec import Project


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    root = tmp_path_factory.mktemp("sealed")
    project = make_lake(root)
    shutil.copytree(project.environment.storage.lake, root / "kept")
    return project, root / "kept"


@pytest.fixture
def project(kept: tuple[Project, Path]) -> Iterator[Project]:
    yield kept[0]
    put_back(*kept)


def _folder(project: Project) -> Path:
    return Path(project.environment.storage.lake)


def _lake(project: Project) -> Lake:
    return Lake.of(project.environment)


def _verified(project: Project) -> list[str]:
    found = verify_model(project, _lake(project), now=NOW)
    return [f"{one.what}: {one.problem}" for one in found]


def test_what_runs_wrote_is_sealed_without_a_verification(project: Project) -> None:
    rows = verified_rows(_lake(project), project.spec)
    assert [row.run_id for row in rows] == [f"run-{day}" for day in DAYS]
    found = seals_in(rows)
    tables = {path.name: DeltaTable(path) for path in _folder(project).iterdir() if path.name != "shop__verified"}
    assert {name: seal.version for name, seal in found.items()} == {
        name: table.version() for name, table in tables.items()
    }
    assert {name: seal.table_id for name, seal in found.items()} == {
        name: str(table.metadata().id) for name, table in tables.items()
    }
    assert {seal.verified for seal in found.values()} == {-1}


def test_a_run_that_wrote_nothing_seals_nothing(project: Project) -> None:
    before = DeltaTable(_folder(project) / "shop__verified").version()
    score(project, DAY)
    context = RunContext(project, DAY, "nothing")
    assert run_step(context, "score")["action"] == "unchanged"
    assert seal_run(context) == 0
    assert DeltaTable(_folder(project) / "shop__verified").version() == before


FOLLOW_UPS = ("labels", "performance", "decisions", "drift", "periods", "profile", "heads", "versions", "gates")


def test_tables_that_are_gone_before_any_verification_are_named(project: Project) -> None:
    for what in FOLLOW_UPS:
        shutil.rmtree(_folder(project) / f"shop__{what}")
    found = _verified(project)
    assert {f"shop__{what}: the table is gone since it was sealed" for what in FOLLOW_UPS} <= set(found)


def test_newest_commits_that_are_gone_before_any_verification_are_named(project: Project) -> None:
    tables = ["labels", "performance", "decisions", "drift", "periods", "tallies"]
    for what in tables:
        newest_commit(_folder(project) / f"shop__{what}").unlink()
    found = "\n".join(_verified(project))
    for what in tables:
        assert re.search(f"shop__{what}: its log ends with .* when the run that wrote it ended it had", found), what


def test_bytes_of_commits_that_changed_before_any_verification_are_named(project: Project) -> None:
    commits = [newest_commit(_folder(project) / f"shop__{what}") for what in ("scores", "labels", "tallies")]
    for commit in commits:
        commit.write_text(commit.read_text().replace("numRecords", "numRecordz"))
    found = "\n".join(_verified(project))
    for commit in commits:
        table = commit.parent.parent.name
        assert f"{table}: the file _delta_log/{commit.name} is not what it was when the run that wrote it" in found


def test_a_run_seals_over_no_damage(project: Project) -> None:
    """A commit is gone, and the next run writes another one in its place."""
    newest_commit(_folder(project) / "shop__decisions").unlink()
    score(project, DAYS[-1])
    found = _verified(project)
    assert any(line.startswith("shop__decisions: the file _delta_log/") for line in found), found
    assert _verified(project) == found  # the verdict seals it as little


def test_a_verdict_takes_the_place_of_what_runs_sealed_and_runs_go_on_from_it(project: Project) -> None:
    assert _verified(project) == []
    assert [row.run_id for row in verified_rows(_lake(project), project.spec)] == [None]
    context = RunContext(project, DAY, "again")
    run_step(RunContext(project, DAY, "again", RunOptions(force=True)), "score")
    assert seal_run(context) > 0
    verdict, run = verified_rows(_lake(project), project.spec)
    assert (verdict.run_id, run.run_id) == (None, "again")
    newest_commit(_folder(project) / "shop__scores").unlink()
    (line,) = (line for line in _verified(project) if "its log ends" in line)
    assert "when the run that wrote it ended it had" in line


def test_what_a_run_seals_while_it_is_verified_stays(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from tallywright.lifecycle.verify import model

    def verified_meanwhile(*given, **named):
        found = verify_tables(*given, **named)
        run_step(RunContext(project, DAY, "meanwhile", RunOptions(force=True)), "score")
        seal_run(RunContext(project, DAY, "meanwhile"))
        return found

    verify_tables = model.verify_tables
    monkeypatch.setattr(model, "verify_tables", verified_meanwhile)
    assert _verified(project) == []
    monkeypatch.undo()
    assert [row.run_id for row in verified_rows(_lake(project), project.spec)] == [None, "meanwhile"]
    assert _verified(project) == []


AGAIN = ("drift", "performance", "decisions", "periods", "tallies", "heads", "versions", "profile", "inputs")


def test_tables_that_are_gone_are_made_again_and_sealed_anew(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    """Also the superseded tally of the date that was scored twice."""
    run_step(RunContext(project, DAY, "again", RunOptions(force=True)), "score")
    score(project, DAY)
    assert _verified(project) == []
    shutil.rmtree(_folder(project) / "shop__inputs")
    rows = {what: _rows(project, what) for what in AGAIN if what != "inputs"}
    for what in rows:
        shutil.rmtree(_folder(project) / f"shop__{what}")
    found = verify_model(project, _lake(project), now=NOW)
    remedies = {one.what: one.remedy for one in found if "gone since" in one.problem}
    assert remedies.keys() == {f"shop__{what}" for what in AGAIN}
    assert all("--repair" in remedies[f"shop__{what}"] for what in rows)
    repair_model(RunContext(project, DAY, "repair"))
    assert _verified(project) == []
    assert "shop__drift was made again since it was sealed" in caplog.text
    caplog.clear()
    assert _verified(project) == []
    assert "made again" not in caplog.text
    for what in ("tallies", "drift", "heads"):
        assert _rows(project, what) == rows[what], what


def test_a_table_that_a_run_made_again_lacks_the_other_dates(project: Project) -> None:
    assert _verified(project) == []
    shutil.rmtree(_folder(project) / "shop__drift")
    run_step(RunContext(project, DAY, "next"), "drift")
    found = verify_model(project, _lake(project), now=NOW)
    assert [(one.what, one.score_date, one.remedy) for one in found] == [
        ("shop__drift", day, "tally verify shop --repair") for day in DAYS[1:]
    ]


def _rows(project: Project, what: str) -> int:
    return _lake(project).read(f"shop__{what}").num_rows


def test_a_failure_to_seal_is_said_and_stops_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk is away")

    monkeypatch.setattr(seals, "newer_commits", fail)
    run_step(RunContext(project, DAY, "again"), "monitor")
    assert "not sealed" in caplog.text
    assert "the disk is away" in caplog.text
