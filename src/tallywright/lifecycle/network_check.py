"""What is wrong with a model's network: from its file alone, or by trying it in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.lifecycle.plan import find_step
from tallywright.training.user_code.source import network_problem

if TYPE_CHECKING:
    from tallywright.spec import Project


def network_problems(project: Project, *, run: bool = False) -> list[str]:
    """The problems of the network file; a file that is missing is said with the other files.

    Args:
        project: Whose network.
        run: Also try it on made-up rows, which runs the project's code; else nothing of it runs, and no torch is
            imported.
    """
    module = project.spec.training.network.module
    if not (project.folder / module).is_file():
        return []
    problem = network_problem(project.folder, module) or (_tried(project) if run else "")
    return [problem.replace(f"{project.root}/", "")] if problem else []


def _tried(project: Project) -> str:
    """What a trial finds; empty when nothing."""
    from tallywright.training.apart.process import TrainingProcess
    from tallywright.training.apart.worker import NetworkTrial

    network = project.folder / project.spec.training.network.module
    try:
        with TrainingProcess(network, find_step(project.spec, "train")[1].timeout) as process:
            process.answer(NetworkTrial(project))
    except TallyError as error:
        return error.found
    except ModuleNotFoundError as error:
        return f"{network} cannot be tried here: {error}; pip install 'tallywright[train]'"
    return ""
