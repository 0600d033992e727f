"""What a look at the DAG files costs, in counts: a spec is parsed once per content, a task's process makes one DAG."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tallywright.errors import SpecError
from tallywright.lifecycle.plan import Pipeline
from tallywright.observability import log

MODELS = ("one", "three", "two")
PROCESSOR = """
import json, logging, os, sys
from pathlib import Path
from airflow.sdk import DAG
from tallywright.observability import log
from tallywright.orchestration import dags, projects

class Parses(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("parsing ") and record.args[0].name == "model.yaml":
            parsed.append(record.args[0].parent.name)

parsed, made = [], []
log.addHandler(Parses())
log.setLevel("DEBUG")
dags.DAG = lambda *words, **named: (made.append(named["dag_id"]), DAG(*words, **named))[1]

def look(what, root, environment):
    os.environ.update(environment)
    found, error = None, ""
    try:
        found = getattr(projects, what)(Path(root))
    except Exception as raised:
        error = str(raised)
    seen = {"parsed": sorted(parsed), "made": sorted(made), "found": sorted(found or ()), "error": error}
    print(json.dumps(seen), flush=True)

for line in sys.stdin:
    child = os.fork()
    if not child:
        look(*json.loads(line))
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Like the DAG processor it forks for each look, which then knows what files say; it counts real parses and DAGs."""


@pytest.fixture(scope="module")
def processor(airflow_home: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "TALLYWRIGHT"))}
    environment |= {"AIRFLOW_HOME": str(airflow_home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    with subprocess.Popen(
        [sys.executable, "-c", PROCESSOR], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def project(project_copy: Path) -> Path:
    """Three models of the reference project's spec."""
    text = (project_copy / "models/flight_delays/model.yaml").read_text()
    for name in MODELS:
        folder = project_copy / "models" / name
        folder.mkdir()
        (folder / "model.yaml").write_text(text.replace("name: flight_delays", f"name: {name}", 1))
    (project_copy / "models/flight_delays/model.yaml").unlink()
    (project_copy / "conf/prod.yaml").unlink()  # it names the model that is gone
    return project_copy


@pytest.fixture
def look(project: Path, processor: subprocess.Popen[str]) -> Callable[..., dict[str, Any]]:
    def run(what: str = "project_dags", **environment: str) -> dict[str, Any]:
        assert processor.stdin
        assert processor.stdout
        processor.stdin.write(json.dumps([what, str(project), environment]) + "\n")
        processor.stdin.flush()
        for line in processor.stdout:
            if line.startswith('{"parsed"'):
                found: dict[str, Any] = json.loads(line)
                return found
        pytest.fail("no answer")

    return run


def spec_of(project: Path, name: str) -> Path:
    return project / "models" / name / "model.yaml"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def all_dags(*models: str) -> list[str]:
    return sorted(f"{model}__{pipeline}" for model in models for pipeline in Pipeline)


def test_a_spec_is_parsed_once_per_content(look: Callable[..., dict[str, Any]], project: Path) -> None:
    first = look()
    assert first["parsed"] == list(MODELS)
    assert first["found"] == all_dags(*MODELS)
    check = look("require_valid_specs")
    assert (check["parsed"], check["made"], check["error"]) == ([], [], "")
    again = look()
    assert (again["parsed"], again["found"]) == ([], first["found"])
    change(spec_of(project, "two"), "seed: 7", "seed: 8")
    assert look()["parsed"] == ["two"]
    (project / "conf/local.yaml").write_text("models: {one: {tags: [another]}}\n")
    assert look()["parsed"] == ["one"]
    assert look()["parsed"] == []


def test_whichever_file_is_looked_at_first_knows_whether_dags_can_be_made(look: Callable[..., dict[str, Any]]) -> None:
    first = look("require_valid_specs")
    assert (first["parsed"], first["made"]) == (list(MODELS), all_dags(*MODELS))
    second = look("require_valid_specs")
    assert (second["parsed"], second["made"]) == ([], [])


def test_a_tasks_process_reads_its_own_spec_and_makes_its_own_dag(
    look: Callable[..., dict[str, Any]], project: Path
) -> None:
    spec_of(project, "one").write_text("name: [")
    task = {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": "two__score", "_AIRFLOW_PARSING_CONTEXT_TASK_ID": "score"}
    for _ in range(2):
        found = look(**task)
        assert (found["parsed"], found["made"], found["found"]) == (["two"], ["two__score"], ["two__score"])
    check = look("require_valid_specs", **task)
    assert (check["parsed"], check["error"]) == ([], "")


@pytest.mark.parametrize("dag_id", ["somebody_elses", "four__score", "two__dance", "__score"])
def test_a_dag_of_another_file_is_not_looked_for(look: Callable[..., dict[str, Any]], dag_id: str) -> None:
    found = look(_AIRFLOW_PARSING_CONTEXT_DAG_ID=dag_id)
    assert (found["parsed"], found["found"], found["error"]) == ([], [], "")


def test_a_task_of_a_broken_spec_is_told_why(look: Callable[..., dict[str, Any]], project: Path) -> None:
    change(spec_of(project, "two"), "seed: 7", "sead: 7")
    assert "sead" in look(_AIRFLOW_PARSING_CONTEXT_DAG_ID="two__score")["error"]


def test_a_broken_spec_is_parsed_once_and_said_each_time(look: Callable[..., dict[str, Any]], project: Path) -> None:
    change(spec_of(project, "one"), "seed: 7", "sead: 7")
    spec_of(project, "two").write_text("name: [")
    assert look()["found"] == all_dags("three")
    for _ in range(2):
        check = look("require_valid_specs")
        assert check["parsed"] == []
        assert "one has no DAGs" in check["error"]
        assert "sead" in check["error"]
        assert "two has no DAGs" in check["error"]
        assert "three" not in check["error"]


def test_a_model_whose_dags_cannot_be_made_costs_only_its_own(
    look: Callable[..., dict[str, Any]], project: Path
) -> None:
    assert look("require_valid_specs")["error"] == ""
    # The trigger forms, the plan and the spec are content with this text; Airflow allows no tag of so many letters.
    change(spec_of(project, "two"), "tags: [", f"tags: [{'x' * 101}, ")
    for _ in range(2):
        assert look()["found"] == all_dags("one", "three")
        check = look("require_valid_specs")
        assert check["error"].startswith("two has no DAGs")
        assert "tag" in check["error"]
    change(spec_of(project, "two"), f"{'x' * 101}, ", "")
    assert look()["found"] == all_dags(*MODELS)
    assert look("require_valid_specs")["error"] == ""


@pytest.mark.parametrize("damage", ["", "{", "\x00", "0\n{}", "cut"])
def test_a_damaged_cache_is_no_cache(look: Callable[..., dict[str, Any]], project: Path, damage: str) -> None:
    first = look()
    (file,) = (project / ".tally/cache/specs").iterdir()
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2] if damage == "cut" else damage)
    again = look()
    assert (again["parsed"], again["found"]) == (list(MODELS), first["found"])
    assert file.read_text() == whole


def test_a_cache_that_cannot_be_written_is_no_matter(look: Callable[..., dict[str, Any]], project: Path) -> None:
    (project / ".tally").write_text("a file stands where the folder should be")
    for _ in range(2):
        found = look()
        assert (found["parsed"], found["found"]) == (list(MODELS), all_dags(*MODELS))


def test_what_an_overlay_reads_from_the_environment_is_not_remembered(
    look: Callable[..., dict[str, Any]], project: Path
) -> None:
    (project / "conf/local.yaml").write_text("models: {two: {description: '${oc.env:TOLD}'}}\n")
    assert look(TOLD="hunter2pw")["parsed"] == list(MODELS)
    (file,) = (project / ".tally/cache/specs").iterdir()
    assert "hunter2pw" not in file.read_text()
    assert look(TOLD="another")["parsed"] == ["two"]
    assert look(TOLD="another")["parsed"] == []


def test_a_spec_that_reads_the_environment_has_no_dags(look: Callable[..., dict[str, Any]], project: Path) -> None:
    change(spec_of(project, "two"), "seed: 7", "seed: ${oc.env:SEED}")
    assert look(SEED="8")["found"] == all_dags("one", "three")
    assert "${oc.env:SEED} is resolved in conf/ alone" in look("require_valid_specs", SEED="8")["error"]


def test_in_one_process_memory_is_enough(
    airflow: None, project: Path, heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallywright.orchestration.projects import load_all

    monkeypatch.setattr(log, "level", 10)
    (project / ".tally").write_text("no folder")
    with heard.at_level("DEBUG", "tallywright"):
        before = [spec.spec for spec in load_all(project)[0]]
        parses = sum(record.getMessage().startswith("parsing ") for record in heard.records)
        assert [spec.spec for spec in load_all(project)[0]] == before
        again = sum(record.getMessage().startswith("parsing ") for record in heard.records) - parses
    assert parses == len(MODELS) + 1  # and the overlay, which reads the environment
    assert again == 1


def test_nothing_is_collected_while_dags_are_made(airflow: None, project: Path) -> None:
    from tallywright.orchestration.projects import project_dags

    collected: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        collected.append(phase)

    gc.callbacks.append(note)
    try:
        assert sorted(project_dags(project)) == all_dags(*MODELS)
    finally:
        gc.callbacks.remove(note)
    assert collected == []
    assert gc.isenabled()


def test_models_ask_airflow_for_its_settings_and_for_an_asset_once(
    airflow: None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallywright.orchestration import dags, projects

    limits = dags.airflow_limits
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(dags, "airflow_limits", lambda: asked.append(limits()) or asked[-1])
    found = projects.project_dags(project)
    assert len(asked) == 1
    promotions = [asset for dag in found.values() for task in dag.tasks for asset in task.outlets
                  if asset.name == "one__promotions"]  # fmt: skip
    assert len(promotions) == 3
    assert len(set(map(id, promotions))) == 1


def test_the_broken_overlay_is_everybodys_error(airflow: None, project: Path) -> None:
    from tallywright.orchestration.projects import load_all, require_valid_specs

    (project / "conf/local.yaml").write_text("storage: {lak: x}\n")
    projects, broken = load_all(project)
    assert projects == []
    assert sorted(broken) == list(MODELS)
    with pytest.raises(SpecError, match="lak: unknown key"):
        require_valid_specs(project)
    assert not (project / "specs").exists()


def test_a_run_takes_the_answers_to_the_form_from_its_dag(dags: dict[str, Any]) -> None:
    from airflow.sdk.definitions.param import process_params

    for dag in dags.values():
        assert dag.params.validate().keys() >= {"date"}
        for task in dag.tasks:
            answers = process_params(dag, task, {"date": "2013-06-27"}, suppress_exception=False)
            assert answers == dag.params.dump() | {"date": "2013-06-27"}
            dag.params["date"] = None
