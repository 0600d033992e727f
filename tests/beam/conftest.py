"""The Beam engine on the runner that runs in this process, and on Prism."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from beam_world import BeamDay, make_day, on
from shared import shared
from synthetic import make_package

from tallywright.packaging.package import Package
from tallywright.scoring.engines.base import Engines


@pytest.fixture(scope="module")
def prism_engines(prism: Path) -> Iterator[Engines]:
    """One Prism with two worker processes for all tests of a file."""
    with Engines(on("PrismRunner", f"--prism_location={prism}", "--sdk_worker_parallelism=2")) as engines:
        yield engines


@pytest.fixture(params=["FnApiRunner", "PrismRunner"])
def engines(request: pytest.FixtureRequest) -> Iterator[Engines]:
    """One runner after the other."""
    if request.param == "PrismRunner":
        yield request.getfixturevalue("prism_engines")
        return
    with Engines(on("FnApiRunner")) as own:
        yield own


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    made = make_package(tmp_path_factory.mktemp("package") / "one")
    shared(made.folder)
    return made


@pytest.fixture
def day(tmp_path: Path, package: Package) -> BeamDay:
    return make_day(tmp_path, package)
