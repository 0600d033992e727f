"""A day of a small model, and a server that takes the events of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pytest
from lacking import lacking
from lineage_server import Server, serving
from shared import shared
from writers import Day, make_versions

from tallywright.lifecycle.lineage.transport import sender_of


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as told:
        yield told


@pytest.fixture(scope="session")
def born(tmp_path_factory) -> Path:
    """A project with three versions and a champion; copies of it are changed."""
    root = tmp_path_factory.mktemp("lineage")
    Day.born(root / "project", make_versions(root / "packages"))
    shared(root)
    return root / "project"


@pytest.fixture
def day(tmp_path: Path, born: Path) -> Day:
    """A day that nobody has ingested; its environment names no transport."""
    copytree(born, tmp_path, dirs_exist_ok=True)
    return Day(tmp_path)


@pytest.fixture
def client() -> None:
    """The client is installed, and no test hears of another's failures."""
    if find_spec("openlineage") is None:
        lacking("openlineage-python", "pip install 'tallywright[lineage]'")
    sender_of.cache_clear()
