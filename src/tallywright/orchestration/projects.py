"""Every model of a project at once, so that one broken spec leaves the other models' DAGs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import SpecError, TallyError
from tallywright.spec import Project, load_project, model_names

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG


def project_dags(root: Path) -> dict[str, DAG]:
    """The DAGs of all models under `root` whose specs can be read; see `require_valid_specs` for the others."""
    from tallywright.orchestration.dags import model_dags

    found: dict[str, DAG] = {}
    for project in load_all(root)[0]:
        found |= model_dags(project)
    return found


def require_valid_specs(root: Path) -> None:
    """Raises, so that Airflow shows an import error, when a spec under `root` cannot be read.

    Raises:
        SpecError: All problems of all broken specs.
    """
    broken = load_all(root)[1]
    if broken:
        raise SpecError(
            "\n".join(f"{name} has no DAGs: {error}" for name, error in sorted(broken.items())),
            remedy="the DAGs of the other models are not affected",
        )


def load_all(root: Path) -> tuple[list[Project], dict[str, TallyError]]:
    """The models of a project that can be read, and by name the errors of those that cannot."""
    projects: list[Project] = []
    broken: dict[str, TallyError] = {}
    for name in model_names(root):
        try:
            projects.append(load_project(name, root=root))
        except TallyError as error:
            broken[name] = error
    return projects, broken
