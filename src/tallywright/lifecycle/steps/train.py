"""The training steps of the train pipeline: take the snapshot, train, package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.data.snapshot import Snapshot, take_snapshot
from tallywright.lifecycle.handover import hand_over_package, hand_over_snapshot, handed_snapshot
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext


def snapshot(context: RunContext) -> dict[str, Any]:
    """Takes the training snapshot: pins features and labels by version, and the windows before the run's date."""
    taken = take_snapshot(context.project, context.lake, context.day)
    hand_over_snapshot(context, taken.to_json())
    return taken.model_dump(mode="json")


def train(context: RunContext) -> dict[str, Any]:
    """Trains on the pinned data, evaluates, and makes the package an artifact of the run."""
    from tallywright.training.fit import TrainedModel, train as fit  # noqa: I001

    trained: TrainedModel = fit(
        context.project,
        context.lake,
        Snapshot.from_json(handed_snapshot(context)),
        run_id=context.run_id,
        work=context.folder,
        code_version=context.code_version,
    )
    hand_over_package(context, load_package(Path(trained.folder), digest=trained.digest))
    return trained.model_dump(mode="json")
