"""The training steps of the train pipeline: take the snapshot, train, package."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.data.delta.damage import damaged
from tallywright.data.inputs.files import stored_digest
from tallywright.data.inputs.versions import input_version
from tallywright.data.snapshot import Snapshot, take_snapshot
from tallywright.lifecycle.handover import hand_over_package, hand_over_snapshot, handed_snapshot
from tallywright.lifecycle.plan import find_step
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext


def snapshot(context: RunContext) -> dict[str, Any]:
    """Takes the training snapshot: pins features and labels by version, and the windows before the run's date.

    Raises:
        IntegrityError: A day of the windows is not what was ingested.
    """
    taken = take_snapshot(context.project, context.lake, context.day, require=partial(_require_ingested, context))
    hand_over_snapshot(context, taken.to_json())
    return taken.model_dump(mode="json")


def _require_ingested(context: RunContext, taken: Snapshot) -> None:
    """Compares the content of each day of the windows with what ingest recorded, and reads its labels' checksums."""
    lake, spec = context.lake, context.spec
    base = lake.look(taken.features.table)
    with lake.batching():
        calendar = spec.schedule.calendar
        for day in calendar.open_between(calendar.first_on(taken.train_from), calendar.last_on(taken.holdout_to)):
            recorded = input_version(lake, spec, day)
            if stored_digest(lake, spec, day, base).hex != recorded.fingerprint:
                raise damaged(lake.uri(recorded.table), "", "they are not those that were ingested", day)
            lake.read(taken.labels.table, where={"score_date": day})


def train(context: RunContext) -> dict[str, Any]:
    """Trains on the pinned data, evaluates, and makes the package an artifact of the run.

    The training has a process of its own, with the time that the plan gives the step: the project's network runs there.
    """
    from tallywright.training.apart.process import TrainingProcess
    from tallywright.training.apart.worker import Job

    network = context.project.folder / context.spec.training.network.module
    with TrainingProcess(network, find_step(context.spec, "train")[1].timeout) as process:
        job = Job(
            project=context.project,
            snapshot=Snapshot.from_json(handed_snapshot(context)),
            run_id=context.run_id,
            work=context.folder,
            code_version=context.code_version,
        )
        trained = process.answer(job)
    hand_over_package(context, load_package(Path(trained["folder"]), digest=trained["digest"]))
    return trained
