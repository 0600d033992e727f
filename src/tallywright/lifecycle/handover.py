"""What the steps of a train run hand to one another: artifacts of its MLflow run, found and verified by digest.

Two steps may run on two machines that share nothing but the lake and the registry. Files of the run's folder are only a
cache: they are looked at under the digest that the run names, and never decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.packaging.package import PackageCache
from tallywright.registry.versions import fetch_candidate, upload
from tallywright.training.tracking import find_run, open_run

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.training.tracking import LifecycleRun

SNAPSHOT: Final = "snapshot.json"
PACKAGE: Final = "package.sha256"
REASON_TAG: Final = "tallywright.reason"


def hand_over_snapshot(context: RunContext, text: str) -> None:
    """Keeps the snapshot for the step `train`, and why there is a training at all.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = _run(context)
    run.hand_over(SNAPSHOT, text.encode())
    if context.options.reason:
        run.note(REASON_TAG, context.options.reason)


def handed_snapshot(context: RunContext) -> str:
    """The snapshot that the step `snapshot` of this run took, as JSON.

    Raises:
        UsageError: This run took none.
        TrackingError: MLflow is missing or away.
    """
    return _handed_over(context, SNAPSHOT, "snapshot")[1].decode()


def hand_over_package(context: RunContext, package: Package) -> None:
    """Keeps the trained package for the gates and for `register`.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = _run(context)
    upload(context.project, package, run.run_id)
    # Last: whoever finds the digest finds the package.
    run.hand_over(PACKAGE, package.digest.encode())
    _cache(context).put(package.folder)


def handed_package(context: RunContext) -> tuple[Package, str]:
    """The package that this run trained, verified, and the MLflow id of the run.

    Raises:
        UsageError: This run trained none.
        PackageError: What MLflow holds is not what was trained.
        TrackingError: MLflow is missing or away.
    """
    run, digest = _handed_over(context, PACKAGE, "train")
    return fetch_candidate(context.project, run.run_id, digest.decode(), _cache(context)), run.run_id


def handed_digest(context: RunContext) -> str | None:
    """The digest of the package that this run trained; None when it trained none.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    digest = None if run is None else run.handed_over(PACKAGE)
    return None if digest is None else digest.decode()


def reason_of(context: RunContext) -> str:
    """Why this run trains, as its step `snapshot` was told; empty when nobody said so.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    return "" if run is None else run.tags.get(REASON_TAG, "")


def _run(context: RunContext) -> LifecycleRun:
    """The MLflow run of this run, as it stands where a step has opened it."""
    return find_run(context.project, context.run_id) or open_run(context.project, context.run_id)


def _handed_over(context: RunContext, name: str, step: str) -> tuple[LifecycleRun, bytes]:
    run = find_run(context.project, context.run_id)
    content = None if run is None else run.handed_over(name)
    if run is None or content is None:
        raise UsageError(
            f"run {context.run_id!r} has no result of step {step!r}",
            expected=f"an MLflow run of that name in {context.project.environment.tracking.uri} that holds it",
            remedy="run that step first, with the same --run-id, or use `tally train`",
        )
    return run, content


def _cache(context: RunContext) -> PackageCache:
    return PackageCache(context.folder / "packages")
