"""The commit that a run records is of the project's own code, and says when the files differ from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tallywright import __version__
from tallywright.lifecycle.context import CODE_VERSION_VARIABLE, code_version


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model, in a repository that has one commit and none of it."""
    monkeypatch.delenv(CODE_VERSION_VARIABLE, raising=False)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "empty")
    (tmp_path / "models/one").mkdir(parents=True)
    (tmp_path / "models/one/model.yaml").write_text("name: one")
    return tmp_path


def test_a_repository_without_the_models_is_somebody_elses(project: Path) -> None:
    assert code_version(project) == f"tallywright-{__version__}"


def test_a_commit_that_has_everything_stands_alone(project: Path) -> None:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "all")
    (project / "notes.txt").write_text("not code")
    assert code_version(project) == git(project, "rev-parse", "HEAD")


@pytest.mark.parametrize("file", ["models/one/model.yaml", "models/one/network.py", "expectations/one.yaml"])
def test_what_differs_from_the_commit_is_said(project: Path, file: str) -> None:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "all")
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text("changed")
    assert code_version(project) == f"{git(project, 'rev-parse', 'HEAD')}+changed"
