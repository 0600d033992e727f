"""What is wrong with one model changes no query, no report and no day of the others, which have scored days.

The lake is the one that an earlier version wrote, which saves a training; a second model of it has features and labels.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from breakage import EXCEPTIONS, mutations, raising
from click.testing import CliRunner
from old_lake import ARCHIVE, MODEL, unpack

from tallywright.cli.main import tally

pytestmark = pytest.mark.slow

BROKEN, QUIET = "broken", "quiet"
DAYS = ("--from", "2025-01-22", "--to", "2025-01-24")
ASKED: tuple[tuple[str, ...], ...] = (
    ("query", "select 1"),
    ("query", f"select * from {MODEL}__scores order by all limit 50"),
    ("query", f"select count(*) from {MODEL}__features f join {QUIET}__features q using (order_id)"),
    ("query", f"select label_status, count(*) from {QUIET}__labels group by all order by all"),
    ("days", MODEL),
    ("history", MODEL),
    ("days", QUIET),
)
"""What is asked of the two that are sound."""


def copied(root: Path, name: str) -> None:
    """Another model of the same spec."""
    shutil.copytree(root / f"models/{MODEL}", root / f"models/{name}")
    spec = root / f"models/{name}/model.yaml"
    spec.write_text(spec.read_text().replace(f"name: {MODEL}", f"name: {name}", 1))
    suite = (root / f"expectations/{MODEL}__features.yaml").read_text()
    (root / f"expectations/{name}__features.yaml").write_text(suite.replace(MODEL, name))


def said(root: Path, *arguments: str) -> Any:
    """The answer of a command that has to succeed."""
    done = CliRunner().invoke(tally, [*arguments, "--root", str(root), "--json"])
    assert done.exit_code == 0, (arguments, done.output[-2000:])
    return json.loads(done.stdout)


def answers(root: Path) -> dict[str, Any]:
    """What the sound models answer: queries, days, and reports but for when and where they were written."""
    found: dict[str, Any] = {" ".join(asked): said(root, *asked) for asked in ASKED}
    for name in (MODEL, QUIET):
        page = root / f"{name}.html"
        said(root, "report", name, "--out", str(page))
        text = page.read_text("utf-8").replace(str(root), "")
        found[f"report {name}"] = re.sub(r"Written \d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored model, one with features and labels, and the one that is broken, which has them too."""
    root = tmp_path_factory.mktemp("lake") / "project"
    unpack(ARCHIVE, root)
    for name in (QUIET, BROKEN):
        copied(root, name)
        said(root, "ingest", name, *DAYS)
    return root


@pytest.fixture(scope="module")
def before(template: Path) -> dict[str, Any]:
    """The answers while all is well."""
    found = answers(template)
    assert "<svg" in found[f"report {MODEL}"]
    return found


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project"))


def spec_of(root: Path) -> Path:
    return root / f"models/{BROKEN}/model.yaml"


def require_the_same(root: Path, before: dict[str, Any], how: str) -> None:
    found = answers(root)
    assert {asked: told for asked, told in found.items() if told != before[asked]} == {}, how


def without_a_file(root: Path) -> None:
    next((root / f".tally/lake/{BROKEN}__labels").rglob("*.parquet")).unlink()


def with_a_torn_log(root: Path) -> None:
    max((root / f".tally/lake/{BROKEN}__features/_delta_log").glob("*.json")).write_text('{"add": {"pa')


def without_a_log(root: Path) -> None:
    shutil.rmtree(root / f".tally/lake/{BROKEN}__features/_delta_log")


def without_a_spec(root: Path) -> None:
    shutil.rmtree(root / f"models/{BROKEN}")


def with_a_folder_as_spec(root: Path) -> None:
    spec_of(root).unlink()
    spec_of(root).mkdir()


DAMAGE = (without_a_file, with_a_torn_log, without_a_log, without_a_spec, with_a_folder_as_spec)


def test_one_that_is_broken_in_every_way_changes_no_answer_of_the_others(project: Path, before: dict[str, Any]) -> None:
    for damage in (without_a_file, with_a_torn_log, with_a_folder_as_spec):
        damage(project)
    require_the_same(project, before, "all at once")


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_nor_does_one_damage_alone(damage: Callable[[Path], None], project: Path, before: dict[str, Any]) -> None:
    damage(project)
    require_the_same(project, before, damage.__name__)


def break_in_many_ways(root: Path, before: dict[str, Any], count: int, seed: int) -> None:
    for number, text in enumerate(mutations(spec_of(root), count, seed)):
        spec_of(root).write_text(text, "utf-8", newline="")
        require_the_same(root, before, f"seed {seed}, mutation {number}")


@pytest.mark.long
def test_nor_do_mutations_of_its_spec(project: Path, before: dict[str, Any]) -> None:
    break_in_many_ways(project, before, 40, seed=4)


@pytest.mark.long
@pytest.mark.parametrize("name", ["assemble", "checked", "read_mapping"])
def test_nor_does_whatever_a_function_raises_for_it(
    name: str, project: Path, before: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("tallywright.spec.load")
    function = getattr(module, name)
    for make in EXCEPTIONS:
        monkeypatch.setattr(module, name, raising(function, make, BROKEN))
        require_the_same(project, before, f"{name}: {make()!r}")
