"""docker/ as data, with a fresh .env that exists nowhere else."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from containers import Stage, load_compose, read_env, read_stages


@pytest.fixture(scope="session")
def folder(repository: Path) -> Path:
    return repository / "docker"


@pytest.fixture(scope="session")
def example(folder: Path) -> str:
    return (folder / ".env.example").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def dotenv(folder: Path, example: str) -> dict[str, str]:
    """What `make_env.py` would write."""
    return read_env(runpy.run_path(str(folder / "make_env.py"))["filled"](example))


@pytest.fixture(scope="session")
def compose(folder: Path, dotenv: dict[str, str]) -> dict[str, Any]:
    return load_compose(folder / "compose.yaml", dotenv)


@pytest.fixture(scope="session")
def stages(folder: Path) -> dict[str, Stage]:
    return read_stages(folder / "Dockerfile")
