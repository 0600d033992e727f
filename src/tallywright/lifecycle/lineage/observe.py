"""Tells of the runs of steps: START and how each ended; asked where the environment names a transport alone."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallywright.lifecycle.context import repository_of
from tallywright.lifecycle.lineage.datasets import Datasets
from tallywright.lifecycle.lineage.events import StepOutcome, StepRun, event_of
from tallywright.lifecycle.lineage.naming import Name, run_id_of
from tallywright.lifecycle.lineage.transport import sender_of
from tallywright.lifecycle.plan import Actor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.plan import Pipeline, Step


@dataclass
class Observed:
    """What an observed step returned; its step says so."""

    result: Mapping[str, Any] | None = None


@contextmanager
def observed(context: RunContext, pipeline: Pipeline, step: Step, *, last: date | None = None) -> Iterator[Observed]:
    """Tells that a step begins, and how it ends: COMPLETE, FAIL with the error, or ABORT where it was stopped.

    Nothing is raised here but what the step itself raises.

    Args:
        context: Of the run.
        pipeline: The step's.
        step: What runs inside the block.
        last: The last date of a range that it is run for at once.
    """
    seen = Observed()
    settings = context.project.environment.lineage
    if step.actor is not Actor.COMMAND or context.options.dry_run:
        yield seen
        return
    sender, run = sender_of(settings), None
    end = last or context.options.last or context.day

    def tell(state: str, error: BaseException | None = None) -> Any:
        nonlocal run
        run = run or _run(context, pipeline, step, end)
        found = Datasets(context, step.name, end, seen.result)
        return event_of(run, StepOutcome(state, found.inputs(), found.outputs(), error))

    sender.send(lambda: tell("START"))
    try:
        yield seen
    except Exception as error:
        failed = error
        sender.send(lambda: tell("FAIL", failed))
        raise
    except BaseException as stopped:
        why = stopped
        sender.send(lambda: tell("ABORT", why))
        raise
    sender.send(lambda: tell("COMPLETE"))


def _run(context: RunContext, pipeline: Pipeline, step: Step, last: date) -> StepRun:
    spec, environment = context.spec, context.project.environment
    dag = os.environ.get("AIRFLOW_CTX_DAG_ID") or f"{spec.name}__{pipeline}"
    attempt = os.environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    namespace, place = environment.lineage.namespace, environment.storage.lake
    period = str(context.day) if last == context.day else f"{context.day}/{last}"
    job = Name(namespace, f"{spec.name}__{pipeline}.{step.name}")
    calendar = spec.schedule.calendar
    return StepRun(
        job=job,
        run_id=run_id_of(place, namespace, job.name, period, context.run_id, attempt),
        parent=(Name(namespace, dag), run_id_of(place, namespace, dag, context.run_id)),
        help=step.help,
        owner=(spec.owner.name, spec.owner.email),
        tags=tuple(spec.tags),
        nominal=(calendar.start(context.day), calendar.end(last)) if pipeline.is_about_periods else None,
        code=(context.code_version, repository_of(context.project.root)),
        folder=f"models/{spec.name}",
    )
