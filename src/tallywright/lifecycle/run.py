"""Runs the steps of a plan by name; a step's module is imported when it is run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from tallywright.errors import TallyError, UsageError
from tallywright.lifecycle.plan import Actor, Pipeline, Step, find_step, plan
from tallywright.observability import log

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext

StepFunction = Callable[["RunContext"], dict[str, Any]]
Listener = Callable[[str, Mapping[str, Any]], None]


def run_step(context: RunContext, name: str) -> dict[str, Any]:
    """Runs one step and returns its result, which is small and JSON-able: references, no data.

    Raises:
        UsageError: No such step, or one whose packages are not installed here.
        TallyError: Whatever the step refuses.
    """
    _, step = find_step(context.spec, name)
    try:
        return _run(context, step)
    except TallyError as error:
        if step.refuses:
            from tallywright.lifecycle.periods import record_refusal

            record_refusal(context, error)
        raise


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
    for step in plan(context.spec, pipeline):
        if step.actor is not Actor.COMMAND or (only and step.name not in only):
            continue
        results[step.name] = _run(context, step)
        if listener is not None:
            listener(step.name, results[step.name])
    return results
