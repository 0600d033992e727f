"""What the steps of a train run hand to one another: artifacts of its MLflow run, found and verified by digest.

Two steps may run on two machines that share nothing but the lake and the registry. Files of the run's folder are only a
cache: they are looked at under the digest that the run names, and never decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.mlflow_client import mlflow_errors
from tallywright.packaging.package import PackageCache
from tallywright.registry.versions import fetch_candidate, upload
from tallywright.training.tracking import find_run, open_run

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.training.tracking import LifecycleRun

SNAPSHOT: Final = "snapshot.json"
PACKAGE: Final = "package.sha256"
REFIT: Final = "refit.sha256"
ADOPTED_FILE: Final = "adopted"
"""The file of a model from elsewhere as it was taken, kept with its run."""
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


def hand_over_package(context: RunContext, package: Package, name: str = PACKAGE) -> None:
    """Keeps the trained package, or the refit, for the gates and for `register`.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = _run(context)
    upload(context.project, package, run.run_id)
    # Last: whoever finds the digest finds the package.
    run.hand_over(name, package.digest.encode())
    _cache(context).put(package.folder)


def hand_over_file(context: RunContext, name: str, content: bytes) -> None:
    """Keeps a file with the run.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    _run(context).hand_over(name, content)


def handed_names(context: RunContext) -> frozenset[str]:
    """What steps of this run have handed over by now.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    return frozenset() if run is None else run.handed_names


def end_without_package(context: RunContext) -> None:
    """Ends the run as failed where it has no package, so that it does not stand there as running.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    if run is not None and PACKAGE not in run.handed_names:
        with mlflow_errors(run.uri, "close the run"):
            run.client.set_terminated(run.run_id, "FAILED")


def handed_package(context: RunContext) -> tuple[Package, str]:
    """The package that this run trained, verified, and the MLflow id of the run.

    Raises:
        UsageError: This run trained none.
        PackageError: What MLflow holds is not what was trained.
        TrackingError: MLflow is missing or away.
    """
    run, digest = _handed_over(context, PACKAGE, "train")
    return package_of_run(context, run.run_id, digest.decode()), run.run_id


def handed_refit(context: RunContext) -> Package | None:
    """The refit of the package that this run trained, verified; None where it has none.

    Raises:
        PackageError: What MLflow holds is not what was trained.
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    digest = None if run is None else run.handed_over(REFIT)
    if run is None or digest is None:
        return None
    return package_of_run(context, run.run_id, digest.decode())


def package_of_run(context: RunContext, run_id: str, digest: str) -> Package:
    """A package that a run has trained, verified, whether it is a version or not.

    Raises:
        PackageError: What MLflow holds is not what was trained.
        TrackingError: MLflow is missing or away, or the run holds no such package.
    """
    return fetch_candidate(context.project, run_id, digest, _cache(context))


def handed_digests(context: RunContext) -> tuple[str, ...]:
    """The digests of the packages that this run trained, any of which may be its version: the refit's first.

    Raises:
        TrackingError: MLflow is missing or away.
    """
    run = find_run(context.project, context.run_id)
    found = [] if run is None else [run.handed_over(name) for name in (REFIT, PACKAGE)]
    return tuple(digest.decode() for digest in found if digest is not None)


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
