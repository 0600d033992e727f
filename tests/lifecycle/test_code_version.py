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


@pytest.mark.parametrize("way", ["fsmonitor", "hook", "clean filter", "process filter", "included filter", "submodule"])
def test_a_foreign_repository_runs_nothing(project: Path, tmp_path: Path, way: str) -> None:
    """Whoever asks for the state of a repository that came from elsewhere runs none of the programs that it names."""
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "all")
    script = tmp_path / "attack"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/pwned\ncat\n")
    script.chmod(0o755)
    if way == "fsmonitor":
        git(project, "config", "core.fsmonitor", str(script))
    elif way == "hook":
        git(project, "config", "core.hooksPath", str(tmp_path / "hooks"))
        (tmp_path / "hooks").mkdir()
        for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
            (tmp_path / "hooks" / name).symlink_to(script)
    elif way == "submodule":
        inner = project / "models/inner"
        inner.mkdir()
        git(inner, "init", "--quiet")
        git(inner, "commit", "--quiet", "--allow-empty", "-m", "inner")
        git(project, "add", "models/inner")
        git(project, "commit", "--quiet", "-m", "inner")
        git(inner, "config", "core.fsmonitor", str(script))
    else:
        own = ["config"] if way != "included filter" else ["config", "-f", str(tmp_path / "more")]
        git(project, *own, f"filter.a.b.{'process' if way == 'process filter' else 'clean'}", str(script))
        if way == "included filter":
            git(project, "config", "include.path", str(tmp_path / "more"))
        (project / ".git/info/attributes").write_text("* filter=a.b\n")
        (project / "models/one/model.yaml").write_text("name: two")
    assert code_version(project).startswith(git(project, "rev-parse", "HEAD"))
    assert not (tmp_path / "pwned").exists()
