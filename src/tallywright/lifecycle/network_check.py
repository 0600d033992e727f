"""What is wrong with a model's network, found from its file alone: nothing of it runs, and no torch is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.training.user_code.source import network_problem

if TYPE_CHECKING:
    from tallywright.spec import Project


def network_problems(project: Project) -> list[str]:
    """The problems of the network file; a file that is missing is said with the other files."""
    module = project.spec.training.network.module
    if not (project.folder / module).is_file():
        return []
    problem = network_problem(project.folder, module)
    return [problem.replace(f"{project.root}/", "")] if problem else []
