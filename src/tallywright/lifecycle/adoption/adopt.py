"""Adopts a model from elsewhere: one registered version with package, reference profile and evidence.

The steps are those of a training, in which nothing is learnt and nothing is refitted. A run of its own is named by what
is adopted and the date, so that a repeat goes on where a killed one has ended, and finds the version when all is done.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tallywright.errors import TallyError
from tallywright.lifecycle.adoption.source import fetched
from tallywright.lifecycle.handover import PACKAGE, SNAPSHOT, end_without_package, handed_digests, handed_names
from tallywright.lifecycle.plan import Pipeline
from tallywright.lifecycle.run import run_pipeline
from tallywright.packaging.meta import ADOPTED
from tallywright.records import digest_of
from tallywright.registry.versions_table import recorded_versions
from tallywright.spec.estimators import Ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.lifecycle.adoption.source import AdoptionRequest
    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.run import Listener
    from tallywright.spec.sections import Training


def adopt(context: RunContext, request: AdoptionRequest, listener: Listener | None = None) -> dict[str, Any]:
    """Makes a version of a model from elsewhere, and returns it as `register` does.

    Args:
        context: Of the model project whose task and columns it has, and of the as-of date: the model is judged on the
            holdout before it.
        request: What is adopted.
        listener: Told of each step that is run.

    Raises:
        LeakError: It has seen rows of the holdout.
        PackageError: It cannot be read without pickle, or does not fit the spec.
        GateRefusedError: It is registered, and a gate refused it or left it undecided.
        TrackingError: MLflow is missing or away.
    """
    project, day, options = context.project, context.day, context.options
    learning = project.with_spec(project.spec.model_copy(update={"training": nothing_to_fit(project.spec.training)}))
    taking = replace(context, project=learning, run_id=f"{ADOPTED}-{day}")
    with TemporaryDirectory(prefix="taken-", dir=taking.folder) as work:
        adopted = fetched(project, request, Path(work))
        reason = options.reason or f"adopted from {adopted.source}"
        named = digest_of([adopted.sha256, adopted.library, str(adopted.trained_through), adopted.best_rounds])
        taken = replace(
            taking, run_id=f"{ADOPTED}-{day}-{named[:16]}", options=replace(options, adopted=adopted, reason=reason)
        )
        try:
            results = run_pipeline(taken, Pipeline.TRAIN, only=tuple(_to_do(taken)), listener=listener)
        except TallyError:
            with suppress(TallyError):
                end_without_package(taken)
            raise
    return results["register"] | {"source": adopted.source, "sha256": adopted.sha256}


def _to_do(context: RunContext) -> Iterator[str]:
    """Yields the steps that are left; `register` is repeated, and changes nothing once it is done."""
    done = handed_names(context)
    if SNAPSHOT not in done:
        yield "snapshot"
    if PACKAGE not in done:
        yield "train"
    registered = {row.package_digest for row in recorded_versions(context.lake, context.spec).values()}
    if registered.isdisjoint(handed_digests(context)):
        yield from ("quality_gate", "operations_gate")
    yield "register"


def nothing_to_fit(training: Training) -> Training:
    """The section for a model that is there already, which is what its package says of it."""
    ready = Ready(kind="onnx", name=ADOPTED, file="adopted.onnx")
    return training.model_copy(update={"estimator": ready, "refit": False})
