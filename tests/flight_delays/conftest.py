"""The reference project's raw data, staged once a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flights import Queries, Raw, load_flights, load_queries

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.spec import Project


@pytest.fixture(scope="session")
def staged(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Raw]:
    return load_flights(repository, tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="session")
def project(staged: tuple[Project, Raw]) -> Project:
    return staged[0]


@pytest.fixture(scope="session")
def raw(staged: tuple[Project, Raw]) -> Raw:
    return staged[1]


@pytest.fixture(scope="session")
def queries(project: Project) -> Queries:
    return load_queries(project)
