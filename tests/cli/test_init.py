from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tallywright.cli.init import init
from tallywright.errors import UsageError
from tallywright.spec import load_project

TEMPLATE = Path("src/tallywright/cli/project_template")


def _init(folder: Path, *more: str) -> None:
    CliRunner().invoke(init, [str(folder), *more], catch_exceptions=False)


def test_two_projects_are_equal_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _init(tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_new_spec_is_valid_under_its_own_name(tmp_path: Path) -> None:
    _init(tmp_path / "p", "--model", "parcels")
    for environment in ("local", "prod"):
        project = load_project("parcels", root=tmp_path / "p", environment=environment)
        assert project.spec.name == "parcels"
        assert project.expectations.is_file()
    assert "{{" not in "".join(path.read_text() for path in (tmp_path / "p").rglob("*.*") if path.is_file())


def test_a_project_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(UsageError, match="has models already"):
        _init(tmp_path)


@pytest.mark.parametrize("file", ["README.md", ".gitignore", "jobs/score_spark.py"])
def test_no_file_of_the_folder_is_overwritten(tmp_path: Path, file: str) -> None:
    mine = tmp_path / file
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UsageError, match=f"has {file} already; nothing was written"):
        _init(tmp_path)
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_command_is_no_name_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'train' is a command"):
        _init(tmp_path / "p", "--model", "train")


@pytest.mark.parametrize("name", ["Parcels", "1st", "a-b", "../x", ""])
def test_a_name_that_cannot_be_a_table_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        _init(tmp_path / "p", "--model", name)
    assert not (tmp_path / "p").exists()


def test_the_template_has_the_same_dags_and_conf_as_the_reference_project(repository: Path) -> None:
    for file in ("dags/tallywright_dags.py", "dags/tallywright_broken_specs.py", "conf/local.yaml"):
        assert (repository / TEMPLATE / file).read_text() == (repository / file).read_text()
