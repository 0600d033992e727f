"""The training steps of the train pipeline: take the snapshot, train, package, and refit what the gates let pass."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.data.delta.damage import damaged
from tallywright.data.inputs.files import stored_digest
from tallywright.data.inputs.versions import input_version
from tallywright.data.snapshot import Snapshot, take_snapshot
from tallywright.errors import PackageError
from tallywright.gates.refit import without_refit
from tallywright.lifecycle.adoption.unseen import require_unseen_holdout
from tallywright.lifecycle.handover import (
    ADOPTED_FILE,
    REFIT,
    hand_over_file,
    hand_over_package,
    hand_over_snapshot,
    handed_package,
    handed_snapshot,
)
from tallywright.lifecycle.plan import find_step
from tallywright.lifecycle.steps.gates import judge_refit, recorded
from tallywright.lifecycle.steps.promotion import verdict_about
from tallywright.packaging.package import load_package
from tallywright.records import VersionVerdict

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext


def snapshot(context: RunContext) -> dict[str, Any]:
    """Takes the training snapshot: pins features and labels by version, and the windows before the run's date.

    Raises:
        IntegrityError: A day of the windows is not what was ingested.
    """
    data = context.production
    taken = take_snapshot(context.project, data.lake, context.day, require=partial(_require_ingested, data))
    hand_over_snapshot(context, taken.to_json())
    return taken.model_dump(mode="json")


def _require_ingested(context: RunContext, taken: Snapshot) -> None:
    """Compares the content of each day of the windows with what ingest recorded, and reads its labels' checksums."""
    if context.options.adopted is not None:
        require_unseen_holdout(context.day, taken, context.options.adopted)
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
    """Trains on the pinned data, evaluates, and makes the package an artifact of the run."""
    trained, adopted = _trained(context, "train"), context.options.adopted
    if adopted is not None:
        hand_over_file(context, ADOPTED_FILE, adopted.path.read_bytes())
    hand_over_package(context, load_package(Path(trained["folder"]), digest=trained["digest"]))
    return trained


def refit(context: RunContext) -> dict[str, Any]:
    """Fits the judged recipe once more, on all rows through the as-of date, and lets the gates look at the result.

    What the quality gate has shown is about the recipe; the refit has seen the holdout and cannot be judged on it. So
    the checks that need no unseen rows are run again, and it has to be close to what was judged.
    """
    spec, (judged, _) = context.spec, handed_package(context)
    if not spec.training.refit:
        return {"action": "none", "why": "training.refit is off: the judged package is the version"}
    if verdict_about(context, judged) is VersionVerdict.REFUSED:
        return {"action": "none", "why": "a gate refused the judged package, which is the version"}
    try:
        trained = _trained(context, "refit", judged.folder)
    except PackageError as error:
        # A training ends in a version in any case: in this one the judged package, which is refused.
        told = recorded(context, without_refit(context.project, judged, error.found))
        return {"action": "refused", "why": error.found} | told
    package = load_package(Path(trained["folder"]), digest=trained["digest"])
    hand_over_package(context, package, REFIT)
    return trained | {"judged": judged.digest, "verdicts": judge_refit(context, judged, package)}


def _trained(context: RunContext, step: str, judged: Path | None = None) -> dict[str, Any]:
    """What the training process answers: the project's code runs there, for as long as the plan gives the step."""
    from tallywright.training.apart.process import TrainingProcess
    from tallywright.training.apart.worker import Job

    with TrainingProcess.of(context.project, find_step(context.spec, step)[1].timeout) as process:
        job = Job(
            project=context.project,
            snapshot=Snapshot.from_json(handed_snapshot(context)),
            run_id=context.run_id,
            work=context.folder,
            code_version=context.code_version,
            judged=judged,
            adopted=context.options.adopted,
        )
        return process.answer(job)
