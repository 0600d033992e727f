"""The training steps of the train pipeline: take the snapshot, train, package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.delta.damage import damaged
from tallywright.data.etl.ingest import input_version
from tallywright.data.etl.input_files import stored_digest
from tallywright.data.snapshot import Snapshot, take_snapshot
from tallywright.errors import UsageError
from tallywright.lifecycle.backfill import days_between
from tallywright.packaging.package import load_package

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package


def snapshot(context: RunContext) -> dict[str, Any]:
    """Takes the training snapshot: pins features and labels by version, and the windows before the run's date.

    Raises:
        IntegrityError: A day of the windows is not what was ingested.
    """
    taken = take_snapshot(context.project, context.lake, context.day)
    _require_ingested(context, taken)
    _snapshot_file(context).write_text(taken.to_json(), encoding="utf-8")
    return taken.model_dump(mode="json")


def _require_ingested(context: RunContext, taken: Snapshot) -> None:
    """Compares the content of each day of the windows with what ingest recorded, and reads its labels' checksums."""
    lake, spec = context.lake, context.spec
    base = lake.look(taken.features.table)
    with lake.batching():
        for day in days_between(taken.train_from, taken.holdout_to):
            recorded = input_version(lake, spec, day)
            if stored_digest(lake, spec, day, base).hex != recorded.fingerprint:
                raise damaged(lake.uri(recorded.table), "", "they are not those that were ingested", day)
            lake.read(taken.labels.table, where={"score_date": day})


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
