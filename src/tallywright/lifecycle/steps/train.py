"""The training steps of the train pipeline: take the snapshot, train, package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.snapshot import Snapshot, take_snapshot
from tallywright.errors import UsageError
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package


def snapshot(context: RunContext) -> dict[str, Any]:
    """Takes the training snapshot: pins features and labels by version, and the windows before the run's date."""
    taken = take_snapshot(context.project, context.lake, context.day)
    _snapshot_file(context).write_text(taken.to_json(), encoding="utf-8")
    return taken.model_dump(mode="json")


def train(context: RunContext) -> dict[str, Any]:
    """Trains on the pinned data, evaluates, and writes the package into the run folder."""
    from tallywright.training.fit import TrainedModel, train as fit  # noqa: I001

    trained: TrainedModel = fit(
        context.project,
        context.lake,
        read_snapshot(context),
        run_id=context.run_id,
        work=context.folder,
        code_version=context.code_version,
    )
    _trained_file(context).write_text(trained.to_json(), encoding="utf-8")
    return trained.model_dump(mode="json")


def read_snapshot(context: RunContext) -> Snapshot:
    """Reads the snapshot that an earlier step of this run took."""
    return Snapshot.from_json(_read(_snapshot_file(context), "snapshot"))


def candidate(context: RunContext) -> Package:
    """Loads the package that this run trained, verified again."""
    from tallywright.training.records import TrainedModel

    trained = TrainedModel.from_json(_read(_trained_file(context), "train"))
    return load_package(context.folder / "package", digest=trained.digest)


def training_run(context: RunContext) -> str:
    """The MLflow run id of this run's training."""
    from tallywright.training.records import TrainedModel

    return TrainedModel.from_json(_read(_trained_file(context), "train")).run_id


def _read(file: Path, step: str) -> str:
    if not file.is_file():
        raise UsageError(
            f"this run has no result of step {step!r} ({file})",
            remedy="run that step first, with the same --run-id, or use `tally train`",
        )
    return file.read_text(encoding="utf-8")


def _snapshot_file(context: RunContext) -> Path:
    return context.folder / "snapshot.json"


def _trained_file(context: RunContext) -> Path:
    return context.folder / "trained.json"
