"""What `tally validate` finds beyond the spec: against the model in production, and in the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.lifecycle.plan import find_step
from tallywright.observability import log
from tallywright.training.user_code.source import network_problem

if TYPE_CHECKING:
    from tallywright.spec import Project


def champion_problems(project: Project) -> list[str]:
    """The values of the spec that the present champion contradicts; none where lake or registry cannot be asked."""
    spec = project.spec
    if not spec.training.kind.thresholds or "threshold" not in spec.scoring.model_fields_set:
        return []
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.context import package_of
    from tallywright.registry.promotion_log import PromotionLog, champion_on
    from tallywright.registry.resolve import as_ref
    from tallywright.scoring.roles.eligibility import threshold_problem

    try:
        production = replace(project, environment=project.environment.in_production)
        entry = champion_on(PromotionLog(Lake.of(production.environment), spec).entries(), None)
        if entry is None:
            return []
        problem = threshold_problem(spec, package_of(production, as_ref(entry, spec)))
    except TallyError as error:
        log.info("scoring.threshold is not compared with the champion's: %s", error.found)
        return []
    remedy = f"train a model with it, `tally train {spec.name}`, or take the key out"
    return [f"{problem} (version {entry.model_version}); {remedy}"] if problem else []


def network_problems(project: Project, *, run: bool = False) -> list[str]:
    """The problems of the network files; a file that is missing is said with the other files.

    Args:
        project: Whose networks.
        run: Also try them on made-up rows, and look for the classes and files of other estimators, which runs code;
            else nothing of it runs, and no torch is imported.
    """
    modules = project.spec.training.modules
    there = [module for module in modules if (project.folder / module).is_file()]
    found = [network_problem(project.folder, module) for module in there]
    if run and there == list(modules) and not any(found):
        found.append(_tried(project))
    return [problem.replace(f"{project.root}/", "") for problem in found if problem]


def _tried(project: Project) -> str:
    """What a trial finds; empty when nothing."""
    from tallywright.training.apart.process import TrainingProcess
    from tallywright.training.apart.worker import NetworkTrial

    try:
        with TrainingProcess.of(project, find_step(project.spec, "train")[1].timeout) as process:
            process.answer(NetworkTrial(project))
    except TallyError as error:
        return error.found
    except ModuleNotFoundError as error:
        return f"the estimators cannot be tried here: {error}; pip install 'tallywright[train]'"
    return ""
