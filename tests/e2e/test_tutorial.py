"""The tutorial's own lines, taken out of its text, work for a project outside of the repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

import pytest

from tallywright.orchestration.embedded import project as embedded

pytestmark = [pytest.mark.slow, pytest.mark.long]
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def lines_of(repository: Path, section: str = "") -> list[list[str]]:
    """The commands of a section of the tutorial (before the first one, when none is named), as words."""
    text = (repository / "docs/tutorial.md").read_text(encoding="utf-8")
    part = next(part for part in re.split(r"^(?=## )", text, flags=re.MULTILINE) if part.startswith(section or "# "))
    shown = "\n".join(_BLOCK.findall(part)).replace("\\\n", " ")
    return [shlex.split(line[2:]) for line in shown.splitlines() if line.startswith("$ ")]


def run(words: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_the_install_lines_work(repository: Path, tmp_path: Path) -> None:
    """Without an index: what the package needs is what this environment has, and pip finds that nothing is missing."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("src", "pyproject.toml", "README.md", "LICENSE", "Makefile"):
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone / name)
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    make_environment, from_clone, make_wheel, from_wheel = lines_of(repository)
    assert make_wheel == ["make", "wheel"]
    assert f"tallywright-{version}-py3-none-any.whl" in from_wheel[-1]

    run([sys.executable, *make_environment[1:]], clone)
    packages = clone / "tally-env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for bundled in packages.glob("setuptools*"):  # an older one than torch wants would stand before this environment's
        shutil.rmtree(bundled)
    (packages / "these.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    alone = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": ""}
    run([str(clone / from_clone[0]), *from_clone[1:]], clone, **alone)
    # what `make wheel` does, with the build backend that is here
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"], clone)
    run([str(clone / from_wheel[0]), *from_wheel[1:], "--force-reinstall", "--no-deps"], clone, **alone)

    project = tmp_path / "elsewhere"
    project.mkdir()
    tally = str(clone / "tally-env/bin/tally")
    shutil.rmtree(clone / "src")
    run([tally, "init", "shop"], project, PYTHONPATH="")
    assert "valid" in run([tally, "validate"], project / "shop", PYTHONPATH="")


@pytest.mark.airflow
@pytest.mark.timeout(1200)
def test_the_tutorial_leads_to_a_green_scored_day(repository: Path, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    commands = [words for section in ("## 1.", "## 2.", "## 3.") for words in lines_of(repository, section)]
    into_airflow = lines_of(repository, "## 5.")
    assert [words[:3] for words in into_airflow] == [
        ["tally", "airflow", "start"], ["tally", "airflow", "cli"], ["tally", "days", "late_orders"],
        ["tally", "airflow", "status"], ["tally", "airflow", "stop"],
    ]  # fmt: skip
    tally = [sys.executable, "-m", "tallywright"]
    try:
        for words in commands:
            if words[0] == "tally":
                run([*tally, *words[1:]], root if root.exists() else tmp_path)
        start, backfill, days, status, stop = ([*tally, *words[1:]] for words in into_airflow)
        told = run(start, root)
        airflow = embedded.embedded(root)
        assert airflow.address in told
        assert airflow.password in told
        run(backfill, root)
        deadline = time.monotonic() + 600
        while len(json.loads(run([*days, "--json"], root))) < 2 and time.monotonic() < deadline:
            time.sleep(2)
        while embedded.client(airflow).has_active_backfill("late_orders__score") and time.monotonic() < deadline:
            time.sleep(2)
        runs = embedded.client(airflow).runs("late_orders__score", run_type="backfill")
        assert [run["state"] for run in runs] == ["success", "success"]
        assert [day["score_date"] for day in json.loads(run([*days, "--json"], root))] == ["2025-04-08", "2025-04-09"]
        assert "api-server, scheduler, dag-processor" in run(status, root)
    finally:
        stopped = run([*tally, "airflow", "stop"], root) if root.exists() else ""
    assert "api-server" in stopped
    assert "nothing was running" in run(stop, root)
