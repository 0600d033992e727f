"""The dates and pipelines that commands take, on the reference project without a lake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tallywright.cli.main import tally
from tallywright.errors import TallyError, UsageError
from tallywright.lifecycle.plan import Actor, Pipeline, plan
from tallywright.spec import load_project

MODEL = "flight_delays"


def _answer(command: str, repository: Path, *arguments: str) -> str:
    found = tally.get_command(click.Context(tally), command)
    assert found is not None
    done = CliRunner().invoke(found, [MODEL, "--root", str(repository), *arguments], catch_exceptions=True)
    if isinstance(done.exception, TallyError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def _no_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYWRIGHT_HOME", str(tmp_path))


@pytest.mark.parametrize("pipeline", [pipeline.value for pipeline in Pipeline])
def test_every_pipeline_is_explained_by_its_name(pipeline: str, repository: Path) -> None:
    told = json.loads(_answer("explain", repository, "--date", "2013-07-01", "--pipeline", pipeline, "--json"))
    spec = load_project(MODEL, root=repository).spec
    assert [step["step"] for step in told["steps"]] == [step.name for step in plan(spec, pipeline)]
    assert [day["action"] for day in told["days"]] == (["refuse"] if pipeline == "score" else [])


def test_the_help_of_run_names_every_step(repository: Path) -> None:
    spec = load_project(MODEL, root=repository).spec
    steps = [one for pipeline in Pipeline for step in plan(spec, pipeline) for one in (step, *step.parts)]
    told = " ".join(CliRunner().invoke(tally, ["run", "--help"]).stdout.split())
    listed = told.partition("A STEP is one of: ")[2].partition(".")[0]
    names = set(re.findall(r"[a-z-]+", listed.replace("its parts", "")))
    assert names == {one.name.replace("_", "-") for one in steps if one.actor in (Actor.COMMAND, Actor.SENSOR)}


@pytest.mark.parametrize("command", ["explain", "score", "ingest", "backfill", "days"])
def test_a_range_that_ends_before_it_begins_is_refused(command: str, repository: Path, tmp_path: Path) -> None:
    more = ["--dry-run"] if command == "backfill" else []
    with pytest.raises(UsageError, match="--to 2013-06-30 is before --from 2013-07-01"):
        _answer(command, repository, "--from", "2013-07-01", "--to", "2013-06-30", *more)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["explain", "score", "ingest", "backfill"])
@pytest.mark.parametrize(("given", "missing"), [("from", "to"), ("to", "from")])
def test_a_range_says_which_end_is_missing(command: str, given: str, missing: str, repository: Path) -> None:
    with pytest.raises(UsageError, match=f"--{given} is given, and --{missing} is missing"):
        _answer(command, repository, f"--{given}", "2013-07-01")


@pytest.mark.parametrize("command", ["explain", "score", "ingest", "backfill", "train"])
def test_a_date_outside_the_schedule_is_one_mistake_everywhere(command: str, repository: Path) -> None:
    with pytest.raises(UsageError, match="1999-07-01"):
        _answer(command, repository, "--date", "1999-07-01")


def test_what_was_never_there_does_not_stand(repository: Path) -> None:
    assert "there is nothing to verify" in _answer("verify", repository)


def test_a_report_goes_into_a_folder_that_is_there(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        _answer("report", repository, "--out", str(tmp_path / "none" / "page.html"))


def test_days_may_be_open_at_either_end(repository: Path) -> None:
    for ends in ([], ["--from", "2013-07-01"], ["--to", "2013-07-01"]):
        assert json.loads(_answer("days", repository, *ends, "--json")) == []


@pytest.mark.parametrize(("option", "step"), [("--page", "score"), ("--act", "day-gate"), ("--dry-run", "day-gate")])
def test_an_option_of_one_step_is_refused_with_another(option: str, step: str, repository: Path) -> None:
    with pytest.raises(UsageError, match=f"expected: {option} with "):
        _answer("run", repository, step, "--date", "2013-07-01", option)
