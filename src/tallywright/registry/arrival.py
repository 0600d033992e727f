"""What the registries say about a version that is copied from one to the other, and whether all of it has arrived.

Lake and registry of training each name the package and the evidence by digest. A version arrives only where both agree,
and where the registry of production gives back what was put into it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.errors import GateRefusedError, IntegrityError, UsageError
from tallywright.mlflow_client import mlflow_client
from tallywright.packaging.package import PackageCache
from tallywright.registry.evidence import Evidence, verdict_of
from tallywright.registry.versions import DIGEST_TAG, EVIDENCE_TAG, fetch, fetch_candidate
from tallywright.registry.versions_table import recorded_versions

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef, VersionOrigin
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import Project

SOURCE_TAG: Final = "tallywright.source"
"""The tag of a copied version that names the registry it came from, and its number there."""


def version_of_training(project: Project, lake: Lake, version: int) -> tuple[VersionRow, Evidence]:
    """A version and its evidence as the environment of training has recorded them.

    Args:
        project: With the registry of training.
        lake: The lake of training.
        version: Its number there.

    Raises:
        UsageError: There is no such version.
        GateRefusedError: It was registered when no evidence was recorded.
        IntegrityError: Lake and registry do not say the same of it, or its evidence is not about it.
        TrackingError: The registry is away, or has no such version.
    """
    known = recorded_versions(lake, project.spec)
    row = known.get(version)
    if row is None:
        raise UsageError(
            f"version {version} of {project.spec.registered_name} was not registered where versions are trained",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}",
            remedy=f"`tally versions {project.spec.name}` in that environment lists them",
        )
    if not row.evidence_json:
        raise GateRefusedError(
            f"version {version} of {project.spec.registered_name} has no recorded evidence",
            expected="the record that every registration writes by now",
            remedy="train it again",
        )
    evidence = Evidence.from_json(row.evidence_json)
    _require_agreement(project, row, evidence)
    _require_reports_about(row, evidence)
    return row, evidence


def _require_agreement(project: Project, row: VersionRow, evidence: Evidence) -> None:
    name = project.spec.registered_name
    with mlflow_client(project.environment.tracking.address) as client:
        tags = client.get_model_version(name, str(row.model_version)).tags
    said = {
        "package": (row.package_digest, evidence.package_digest, tags.get(DIGEST_TAG, "")),
        "judged package": (row.judged_digest, evidence.judged_digest),
        "evidence": (evidence.digest, tags.get(EVIDENCE_TAG, "")),
        "model": (row.model, evidence.model, project.spec.name),
    }
    different = [what for what, digests in said.items() if len(set(digests)) > 1]
    if different:
        raise IntegrityError(
            f"lake and registry of training do not agree on the {' and the '.join(different)} of version "
            f"{row.model_version} of {name}",
            expected="one digest for each in both",
            remedy="find out who changed which, and train the version again",
        )


def _require_reports_about(row: VersionRow, evidence: Evidence) -> None:
    """Refuses reports about something else, and a verdict that does not follow from them."""
    reports, own = evidence.reports, {evidence.package_digest, evidence.judged_digest}
    verdict = verdict_of(reports, refitted=evidence.judged_digest != evidence.package_digest)
    wrong = [
        f"the report of {report.gate} is about {report.model} {report.subject[:16]}…"
        for report in reports
        if report.subject not in own or report.model != row.model
    ]
    if len({report.gate for report in reports}) != len(reports):
        wrong.append("a gate has reported more than once")
    said = {row.verdict, evidence.verdict.value} - {verdict.value}
    if said:
        wrong.append(f"{' and '.join(sorted(said))} is the verdict, and {verdict.value} follows from the reports")
    if wrong:
        raise IntegrityError(
            f"the evidence of version {row.model_version} of {row.model} is not about it: {'; '.join(wrong)}",
            expected="one report of each gate about its package or the one judged for it, and the verdict of these",
            remedy="find out who wrote it, and train the version again",
        )


def mark_origin(project: Project, ref: ModelRef, origin: VersionOrigin) -> None:
    """Writes as tags of a copied version which one it was.

    Raises:
        TrackingError: MLflow is missing, away, or does not let this user write.
    """
    with mlflow_client(project.environment.tracking.address) as client:
        client.set_model_version_tag(ref.name, str(ref.version), SOURCE_TAG, str(origin))


def require_arrived(project: Project, ref: ModelRef, run_id: str, evidence: Evidence, judged: Package | None) -> None:
    """Reads a copied version back, past every cache, and compares what comes with what was sent, by digest.

    Args:
        project: With the registry that it was copied to.
        ref: The version there.
        run_id: The run there that holds its artifacts.
        evidence: What was sent with it.
        judged: The package that was judged for it, where that is another.

    Raises:
        PackageError: A package is not what was sent.
        IntegrityError: The evidence is not.
        TrackingError: MLflow is away, or has lost something.
    """
    with tempfile.TemporaryDirectory(prefix="tally-arrival-") as folder:
        fetch(project, ref.version, ref.digest, into=Path(folder))
        if judged is not None:
            fetch_candidate(project, run_id, judged.digest, PackageCache(Path(folder)))
        with mlflow_client(project.environment.tracking.address) as client:
            file = client.download_artifacts(run_id, f"evidence/{evidence.digest}.json", folder)
        found = Path(file).read_text(encoding="utf-8")
    if Evidence.from_json(found).digest != evidence.digest:
        raise IntegrityError(
            f"the evidence of version {ref.version} of {ref.name} is not what was sent",
            expected=f"the digest {evidence.digest[:16]}…",
            remedy="run the same command again",
        )
