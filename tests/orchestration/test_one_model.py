"""What is wrong with one model takes nothing from another: its DAGs, its row in `validate`; reports: `tests/compat`."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from breakage import EXCEPTIONS, mutations, raising
from click.testing import CliRunner

from tallywright.cli import spec_commands
from tallywright.cli.init import init
from tallywright.cli.main import tally
from tallywright.errors import SpecError, TallyError
from tallywright.lifecycle.plan import Pipeline
from tallywright.spec import load_project, model_names
from tallywright.spec.load import load_environment

SOUND = ("sound", "well")
BROKEN = "late_orders"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with two more models."""
    root = tmp_path_factory.mktemp("template") / "shop"
    assert CliRunner().invoke(init, [str(root)], catch_exceptions=False).exit_code == 0
    shutil.rmtree(root / f"models/{BROKEN}/raw")
    suite = (root / f"expectations/{BROKEN}__features.yaml").read_text()
    for name in SOUND:
        shutil.copytree(root / f"models/{BROKEN}", root / f"models/{name}")
        spec = root / f"models/{name}/model.yaml"
        spec.write_text(spec.read_text().replace(f"name: {BROKEN}", f"name: {name}", 1))
        (root / f"expectations/{name}__features.yaml").write_text(suite.replace(BROKEN, name))
    return root


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "shop"))


def spec_of(root: Path) -> Path:
    return root / f"models/{BROKEN}/model.yaml"


def described(dags: dict[str, Any]) -> dict[str, Any]:
    """What stands in DAGs, by id."""
    return {
        dag_id: {
            "doc": dag.doc_md,
            "tags": sorted(dag.tags),
            "schedule": (type(dag.timetable).__name__, scheduled(dag.timetable)),
            "dates": (dag.start_date, dag.end_date, dag.dagrun_timeout),
            "params": sorted(dag.params),
            "tasks": {
                task.task_id: (type(task).__name__, task.owner, sorted(task.upstream_task_ids), task.pool, task.retries,
                               task.execution_timeout) for task in dag.tasks
            },
        }
        for dag_id, dag in dags.items()
    }  # fmt: skip


def scheduled(timetable: Any) -> str:
    """What a timetable was made of."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(getattr(timetable, "__dict__", timetable)))


def dags_of(root: Path) -> dict[str, Any]:
    from tallywright.orchestration.projects import project_dags

    return described(project_dags(root))


def import_error(root: Path) -> str:
    from tallywright.orchestration.projects import require_valid_specs

    try:
        require_valid_specs(root)
    except SpecError as error:
        return str(error)
    return ""


def rows_of(root: Path) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(tally, ["validate", "--root", str(root), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, {row["model"] or row["overlay"]: row for row in json.loads(done.stdout)}


def ids(*models: str) -> set[str]:
    return {f"{model}__{pipeline}" for model in models for pipeline in Pipeline}


@pytest.fixture
def others(airflow: None, shop: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The DAGs and the rows of the sound models while all is well."""
    code, rows = rows_of(shop)
    assert (code, set(rows)) == (0, {BROKEN, *SOUND})
    dags = dags_of(shop)
    assert set(dags) == ids(BROKEN, *SOUND)
    return {one: dags[one] for one in ids(*SOUND)}, {name: rows[name] for name in SOUND}


def require_others_as_before(root: Path, others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """One model is broken: DAGs, rows and specs of the others are what they were, and the error is about it alone."""
    dags, rows = others
    found = dags_of(root)
    assert {one: found[one] for one in dags} == dags
    code, told = rows_of(root)
    assert {name: told[name] for name in SOUND} == rows
    assert code == (0 if all(row["valid"] for row in told.values()) else 3)
    error = import_error(root)
    assert not any(f"{name} has no DAGs" in error for name in SOUND)
    has_dags = ids(BROKEN) <= set(found)
    assert has_dags == (f"{BROKEN} has no DAGs" not in error)
    if told[BROKEN]["valid"]:
        assert has_dags, error  # what validate passes, Airflow takes
    if not has_dags:
        assert str(spec_of(root)) in error or "local.yaml" in error
    assert load_environment(root=root).name == "local"
    for name in SOUND:
        assert load_project(name, root=root).spec.name == name


def test_a_mutated_spec_takes_nothing_from_the_others(
    shop: Path, others: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    for number, text in enumerate(mutations(spec_of(shop), 10, seed=11)):
        spec_of(shop).write_text(text, "utf-8", newline="")
        try:
            require_others_as_before(shop, others)
        except Exception as error:
            error.add_note(f"mutation {number}")
            raise


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_nor_do_many_more(shop: Path, others: tuple[dict[str, Any], dict[str, Any]], seed: int) -> None:
    for number, text in enumerate(mutations(spec_of(shop), 500, seed)):
        spec_of(shop).write_text(text, "utf-8", newline="")
        try:
            require_others_as_before(shop, others)
        except Exception as error:
            error.add_note(f"seed {seed}, mutation {number}")
            raise


CALLED = {
    "tallywright.orchestration.projects": ("assemble", "model_file"),
    "tallywright.spec.load": ("checked",),
    "tallywright.spec.cache": ("read_text", "parse_mapping"),
    "tallywright.orchestration.dags": (
        "model_dag", "plan", "dag_document", "form", "failure_alert", "_timing", "_task", "table_asset",
    ),
}  # fmt: skip
"""What is called for a model while its DAGs are made."""


WHERE = [(module, name) for module, names in CALLED.items() for name in names]


def require_it_is_that_models_alone(
    root: Path, others: tuple[dict[str, Any], dict[str, Any]], make: Callable[[], Exception]
) -> None:
    """A function fails for the broken model: only that one has no DAGs, and the error names it and its file."""
    from tallywright.orchestration.projects import load_all

    shutil.rmtree(root / ".tally", ignore_errors=True)
    found = dags_of(root)
    assert {one: found[one] for one in others[0]} == others[0]
    assert not ids(BROKEN) & set(found)
    error = import_error(root)
    assert f"{BROKEN} has no DAGs" in error
    assert str(spec_of(root)) in error
    assert isinstance(make(), KeyError) or str(make()).split("\n")[0] in error
    assert not any(f"{name} has no DAGs" in error for name in SOUND)
    assert {project.spec.name for project in load_all(root)[0]} >= set(SOUND)


@pytest.mark.parametrize("where", range(len(WHERE)))
def test_whatever_a_function_raises_for_a_model_is_that_models_alone(
    where: int, shop: Path, others: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(WHERE[where][0])
    monkeypatch.setattr("tallywright.spec.cache._in_memory", {})
    make = EXCEPTIONS[where % len(EXCEPTIONS)]
    monkeypatch.setattr(module, WHERE[where][1], raising(getattr(module, WHERE[where][1]), make, BROKEN))
    require_it_is_that_models_alone(shop, others, make)


@pytest.mark.long
@pytest.mark.parametrize("where", range(len(WHERE)))
def test_so_is_every_exception_of_every_function(
    where: int, shop: Path, others: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(WHERE[where][0])
    function = getattr(module, WHERE[where][1])
    for make in EXCEPTIONS:
        monkeypatch.setattr("tallywright.spec.cache._in_memory", {})
        monkeypatch.setattr(module, WHERE[where][1], raising(function, make, BROKEN))
        require_it_is_that_models_alone(shop, others, make)


@pytest.mark.parametrize(
    "function", ["read_mapping", "checked", "retention_problems", "champion_problems", "_missing_files"]
)
def test_whatever_a_check_raises_for_a_model_stands_in_its_row(
    function: str, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(spec_commands, function)
    for make in EXCEPTIONS:
        monkeypatch.setattr(spec_commands, function, raising(real, make, BROKEN))
        code, rows = rows_of(shop)
        assert code == 3
        assert [rows[name]["valid"] for name in (BROKEN, *SOUND)] == [False, True, True]
        assert rows[BROKEN]["problems"]
        kind = type(make())
        assert issubclass(kind, TallyError) or kind.__name__ in rows[BROKEN]["problems"][0]


CASES = {
    "tag": lambda text: text.replace("tags: [sample]", f"tags: ['{'t' * 101}']"),
    "end": lambda text: text.replace("end_date: 2025-04-30", "end_date: 9999-12-31").replace(
        "timezone: UTC", "timezone: America/New_York"
    ),
    "timeout": lambda text: f"{text}registry: {{approval: person, approval_timeout_hours: 1000000000000}}\n",
    "deep": lambda text: f"{text}x: {'[' * 1000}{']' * 1000}\n",
    "very deep": lambda text: f"{text}x: {'[' * 300_000}\n",
}


@pytest.mark.parametrize("case", CASES)
def test_the_others_keep_their_dags(case: str, shop: Path, others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    spec_of(shop).write_text(CASES[case](spec_of(shop).read_text()))
    require_others_as_before(shop, others)
    assert rows_of(shop)[0] == 3
    assert set(dags_of(shop)) == ids(*SOUND)
    error = import_error(shop)
    assert f"{BROKEN} has no DAGs: {spec_of(shop)}:" in error
    done = CliRunner().invoke(tally, ["doctor", "--root", str(shop), "--json"])
    checks = {row["check"]: row["verdict"] for row in json.loads(done.stdout)}
    assert {checks[f"spec {name}"] for name in SOUND} == {"pass"}
    assert checks[f"spec {BROKEN}"] == "fail"


def test_a_layer_that_does_not_fit_is_its_models(shop: Path, others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    overlay = shop / "conf/local.yaml"
    text = overlay.read_text()
    overlay.write_text(f"{text}models: {{{BROKEN}: {{data: {{key: {{a: b}}}}}}}}\n")
    require_others_as_before(shop, others)
    line = len(text.splitlines()) + 1
    told = f"conf/local.yaml:{line}: models.{BROKEN}.data.key: found a mapping; a list is needed"
    assert told in rows_of(shop)[1][BROKEN]["problems"][0]
    assert told in import_error(shop)


@pytest.mark.parametrize("gone", [False, True])
def test_a_layer_for_a_model_that_is_not_there_is_the_overlays(
    gone: bool,  # noqa: FBT001
    shop: Path,
    others: tuple[dict[str, Any], dict[str, Any]],
    heard: pytest.LogCaptureFixture,
) -> None:
    with (shop / "conf/local.yaml").open("a") as overlay:
        overlay.write(f"models: {{{BROKEN if gone else 'late_order'}: {{tags: [x]}}}}\n")
    if gone:
        shutil.rmtree(shop / f"models/{BROKEN}")
    code, rows = rows_of(shop)
    assert code == 3
    assert {name: rows[name] for name in SOUND} == others[1]
    assert [name for name, row in rows.items() if not row["valid"]] == ["conf/local.yaml"]
    assert len(rows["conf/local.yaml"]["problems"]) == 1
    found = dags_of(shop)
    assert {one: found[one] for one in others[0]} == others[0]
    assert set(found) == ids(*model_names(shop))
    assert "no such model" in import_error(shop)
    assert "has no DAGs" not in import_error(shop)
    for command in (["query", "select 1"], ["days", SOUND[0]]):
        done = CliRunner().invoke(tally, [*command, "--root", str(shop)], catch_exceptions=False)
        assert done.exit_code == 0
    assert sum("no such model" in text for text in heard.messages) == 1


def test_folders_that_are_no_models_are_left_alone(shop: Path, others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for name in (".ipynb_checkpoints", "_old", "__pycache__", "Late-Orders"):
        (shop / f"models/{name}").mkdir()
        shutil.copy(spec_of(shop), shop / f"models/{name}/model.yaml")
    assert model_names(shop) == sorted([BROKEN, *SOUND])
    require_others_as_before(shop, others)
    done = CliRunner().invoke(tally, ["validate", "--root", str(shop)], catch_exceptions=False)
    assert done.exit_code == 0
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint")]
    assert hints == ["hint: models/Late-Orders is left alone, as no model can have that name"]
    assert import_error(shop) == ""


def test_an_extra_that_one_model_needs_is_named(
    shop: Path, others: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec_of(shop).write_text(f"{spec_of(shop).read_text()}scoring: {{engine: spark}}\n")
    overlay = shop / "conf/local.yaml"
    overlay.write_text(overlay.read_text().replace('connection: ""', "connection: spark_default"))
    for name in list(sys.modules):
        if name.startswith(("airflow.providers.apache.spark", "tallywright.orchestration.spark_submit")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "airflow.providers.apache.spark", None)
    found = dags_of(shop)
    assert {one: found[one] for one in others[0]} == others[0]
    assert not ids(BROKEN) & set(found)
    error = import_error(shop)
    assert f"{BROKEN} has no DAGs: {spec_of(shop)}: " in error
    assert "pip install 'tallywright[spark]'" in error


def test_a_broken_overlay_is_said_once(shop: Path, airflow: None) -> None:
    (shop / "conf/local.yaml").write_text("storage: {lake: ftp://h/x}\n")
    code, rows = rows_of(shop)
    assert code == 3
    assert [name for name, row in rows.items() if not row["valid"]] == ["conf/local.yaml"]
    assert dags_of(shop) == {}
    error = import_error(shop)
    assert error.count("no store speaks ftp://") == 1
    assert "no model has DAGs" in error
