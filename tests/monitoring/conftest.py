"""A small real world for what is watched after scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shared import shared
from synthetic import make_package, make_spec
from world import World

from tallywright.data.delta.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.packaging.package import Package


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    made = make_package(tmp_path_factory.mktemp("package") / "package")
    shared(made.folder)
    return made


@pytest.fixture
def world(tmp_path: Path, package: Package) -> World:
    spec = make_spec(
        training={"slices": ["c0"]},
        monitoring={"min_rows": 200, "min_labels": 100, "performance_floor": {"roc_auc": {"min": 0.55}}},
    )
    return World(Lake(str(tmp_path / "lake")), spec, package)
