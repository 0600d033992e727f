"""Copies a version from the registry of training to that of production: packages, evidence, reports, and its run.

The row in `<model>__versions` comes last: until it is there, nothing scores with the version or promotes it, and the
same command finishes what another has begun.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import IntegrityError
from tallywright.gates.record import record_report
from tallywright.mlflow_client import LAKE_TAG, mlflow_client
from tallywright.observability import failpoint
from tallywright.packaging.package import PackageCache, load_package
from tallywright.records import VersionOrigin
from tallywright.registry.arrival import SOURCE_TAG, mark_origin, require_arrived
from tallywright.registry.versions import fetch, fetch_candidate, find_digest, register, upload
from tallywright.registry.versions_table import TrainedBy, record_version
from tallywright.training.tracking import HANDED_TAG, RUN_TAG, TrainingLog, training_run

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.registry.evidence import Evidence
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import Project
    from tallywright.training.tracking import LifecycleRun

_APART: Final = frozenset({"packages", "handed_over", "evidence", "card"})
"""Artifacts of a run that are copied by digest or made anew, or that only the steps of the training needed."""
_OWN_TAGS: Final = ("mlflow.", RUN_TAG, LAKE_TAG, HANDED_TAG)
"""Beginnings of tags that are about the run itself, and where it is."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A version as it leaves the registry of training: its row, evidence and verified packages, and its number there.

    `judged` is None where the version itself was judged. `run_key` is the lifecycle run that trained it.
    """

    row: VersionRow
    evidence: Evidence
    origin: VersionOrigin
    package: Package
    judged: Package | None
    run_key: str


def sent(context: RunContext, row: VersionRow, evidence: Evidence, folder: Path) -> Sent:
    """Downloads what belongs to a version, verified by digest; no cache is asked.

    Args:
        context: Of production.
        row: The version as training has recorded it.
        evidence: Its evidence.
        folder: Where the packages go.

    Raises:
        PackageError: What the registry of training holds is not what was registered.
        IntegrityError: The evidence is about another judged package than the version's own.
        TrackingError: It is away, or has lost something.
    """
    source = context.training.project
    package = load_package(fetch(source, row.model_version, row.package_digest, into=folder), digest=row.package_digest)
    if evidence.judged_digest != (package.meta.judged or package.digest):
        raise IntegrityError(
            f"the evidence of version {row.model_version} of {row.model} is about the judged package "
            f"{evidence.judged_digest}, and its package names {package.meta.judged or 'none other than itself'}",
            expected="the same in both",
            remedy="find out who wrote the evidence, and train the version again",
        )
    judged = None
    if evidence.judged_digest != package.digest:
        judged = fetch_candidate(source, row.run_id, evidence.judged_digest, PackageCache(folder))
    with mlflow_client(source.environment.tracking.address) as client:
        run_key = client.get_run(row.run_id).data.tags.get(RUN_TAG, row.run_id)
    origin = VersionOrigin(
        digest=package.digest, registry=context.project.environment.trained_in, version=row.model_version
    )
    return Sent(row, evidence, origin, package, judged, run_key)


def copy(context: RunContext, version: Sent) -> ModelRef:
    """Copies a version, reads it back, and records it; again, it finishes what is missing and changes nothing else.

    Raises:
        PackageError: What has arrived is not what was sent; the version is not recorded then.
        TrackingError: The registry of production is away, or does not let this user write.
    """
    project, evidence = context.project, version.evidence
    with training_run(project, f"arrived {version.package.digest}") as run:
        _copy_run(context.training.project, version, run)
        for package in filter(None, (version.package, version.judged)):
            # Also where a version was made of it before: what did not arrive as it was sent is sent again.
            upload(project, package, run.run_id)
        failpoint("arrival-uploaded")
        register(project, version.package.folder, run_id=run.run_id, evidence=evidence, uploaded=True)
        # Two commands may have made a version each: both go on with the first.
        ref = find_digest(project, version.package.digest)
        assert ref is not None  # noqa: S101 - it was registered a line above
        mark_origin(project, ref, version.origin)
        failpoint("arrival-registered")
        require_arrived(project, ref, run.run_id, evidence, version.judged)
    for report in evidence.reports:
        # By the run that made it: so it is one report in both lakes, and one try of the year's level.
        record_report(context.lake, context.spec, report, run_id=version.run_key, recorded_at=version.row.recorded_at)
    failpoint("arrival-reported")
    true = ref.model_copy(update={"trained_through": version.package.meta.trained_through})
    origin = _training_of(version, run.run_id)
    record_version(context.lake, context.spec, true, evidence, recorded_at=context.now, trained_by=origin)
    failpoint("arrival-recorded")
    return true


def _training_of(version: Sent, run_id: str) -> TrainedBy:
    row, meta = version.row, version.package.meta
    return TrainedBy(
        run_id=run_id,
        metrics=json.loads(row.metrics_json or "{}"),
        reason=row.reason,
        author=row.author,
        recorded_by=row.recorded_by,
        code_version=meta.code_version,
        snapshot_json=meta.snapshot_json,
        origin=version.origin,
    )


def _copy_run(source: Project, version: Sent, run: LifecycleRun) -> None:
    """What the training has logged: parameters, last metrics, tags, report and plots."""
    run_id = version.row.run_id
    with tempfile.TemporaryDirectory(prefix="tally-arrival-") as folder:
        with mlflow_client(source.environment.tracking.address) as client:
            data = client.get_run(run_id).data
            for item in client.list_artifacts(run_id):
                if item.path not in _APART:
                    client.download_artifacts(run_id, item.path, folder)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    tags = {name: value for name, value in data.tags.items() if not name.startswith(_OWN_TAGS)}
    told: dict[str, Any] = {SOURCE_TAG: str(version.origin), "tallywright.source_run": run_id}
    run.log(TrainingLog(params=data.params, tags=tags | told, metrics=data.metrics, files=files))
