"""Runs the steps of a plan by name; a step's module is imported when it is run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tallywright.errors import TallyError, UsageError
from tallywright.lifecycle.plan import Actor, Pipeline, Step, find_step, pipelines_in, plan
from tallywright.observability import log
from tallywright.spec.environment import Here

if TYPE_CHECKING:
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.spec import Project

T = TypeVar("T")
StepFunction = Callable[["RunContext"], dict[str, Any]]
Listener = Callable[[str, Mapping[str, Any]], None]


def run_step(context: RunContext, name: str) -> dict[str, Any]:
    """Runs one step and returns its result, which is small and JSON-able: references, no data.

    Raises:
        UsageError: No such step, or one whose packages are not installed here.
        TallyError: Whatever the step refuses.
    """
    pipeline, step = find_step(context.spec, name, context.project.environment)
    try:
        return told_of(context, pipeline, step, partial(_run, context, step))
    except TallyError as error:
        if step.refuses:
            from tallywright.lifecycle.periods import record_refusal

            record_refusal(context, error)
        raise


def told_of(
    context: RunContext, pipeline: Pipeline, step: Step, run: Callable[[], T], *, last: date | None = None
) -> T:
    """Runs something as a step, of which lineage is told where the environment says so.

    Args:
        context: Of the run.
        pipeline: The step's.
        step: What it is told as.
        run: Does it; a mapping that it returns is the step's result.
        last: The last date of a range that it is run for at once.

    Raises:
        UsageError: The pipeline belongs to the other one of two environments.
    """
    require_here(context.project, pipeline)
    if context.project.environment.lineage.transport == "none":
        return run()
    from tallywright.lifecycle.lineage.observe import observed

    with observed(context, pipeline, step, last=last) as seen:
        result = run()
        seen.result = result if isinstance(result, Mapping) else {}
    return result


def require_here(project: Project, pipeline: Pipeline) -> None:
    """Refuses what belongs to the other one of two environments: training here, and promoting there, or the reverse.

    Raises:
        UsageError: Names both.
    """
    environment = project.environment
    here, other = environment.registries.here, environment.registries.other
    # A DAG of training in production's Airflow is run by workers of the other environment.
    goes = here is not Here.PRODUCTION or pipeline is not Pipeline.TRAIN
    if other is None or (goes and pipeline in pipelines_in(environment)):
        return
    does = "promoted, and score," if here is Here.TRAINING else "trained"
    raise UsageError(
        f"{project.spec.name}: versions are {does} in {other.name}, and this is {environment.name} "
        f"(registries.here: {here.value})",
        expected=f"the environment {other.name} for the pipeline {pipeline.value}",
        remedy=f"run it there, with its credentials: --env {other.name}, or TALLYWRIGHT_ENV={other.name}",
    )


def _run(context: RunContext, step: Step) -> dict[str, Any]:
    # Upkeep is about no date.
    about = "" if step.name == Pipeline.MAINTAIN else f" of {context.day}"
    log.info("%s %s%s: start", context.spec.name, step.name, about)
    closed = context.spec.schedule.calendar.why_closed(context.day) if step.open_only else ""
    if closed:
        log.info("%s is closed (%s): nothing to do", context.day, closed)
        return {"action": "closed", "why": closed}
    try:
        result = function_of(step)(context)
    except ModuleNotFoundError as error:
        if step.extra is None or (error.name or "").startswith("tallywright"):
            raise
        raise _not_installed(step, error) from error
    if step.seals and not context.options.dry_run:
        from tallywright.lifecycle.seals import seal_run

        seal_run(context)
    log.info("%s %s%s: done", context.spec.name, step.name, about)
    return result


def function_of(step: Step) -> StepFunction:
    """Imports a step's module and returns its function."""
    module, _, name = step.runs.partition(":")
    function: StepFunction = getattr(importlib.import_module(f"tallywright.lifecycle.steps.{module}"), name)
    return function


def _not_installed(step: Step, error: ModuleNotFoundError) -> UsageError:
    return UsageError(
        f"step {step.name} needs the package {error.name}, which is not installed in {sys.prefix}",
        expected=f"an environment with the extra {step.extra}",
        remedy=f"pip install 'tallywright[{step.extra}]'",
    )


def run_pipeline(
    context: RunContext, pipeline: Pipeline, *, only: Collection[str] = (), listener: Listener | None = None
) -> dict[str, dict[str, Any]]:
    """Runs the command steps of a pipeline in order (or those named in `only`) and returns their results by name."""
    results: dict[str, dict[str, Any]] = {}
    for step in plan(context.spec, pipeline, context.project.environment):
        if step.actor is not Actor.COMMAND or (only and step.name not in only):
            continue
        results[step.name] = told_of(context, pipeline, step, partial(_run, context, step))
        if listener is not None:
            listener(step.name, results[step.name])
    return results
