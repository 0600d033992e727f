"""Worlds in which challengers live beside a champion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollout_world import World, make_packages
from shared import shared

from tallywright.packaging.package import Package


@pytest.fixture(scope="session")
def rollout_packages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Package]:
    folder = tmp_path_factory.mktemp("packages")
    made = make_packages(folder)
    shared(folder)
    return made


@pytest.fixture
def born(tmp_path: Path, rollout_packages: dict[int, Package], empty_store: Path) -> Callable[..., World]:
    """Makes a world whose champion is version 1; the package of seed 2 is the truth."""

    def make(champion: int = 1, **how: Any) -> World:
        world = World(tmp_path, rollout_packages, **how)
        world.use_store(empty_store)
        world.register(champion, promote=True)
        return world

    return make
