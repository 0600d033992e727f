"""The evidence of a version: what was judged, by what, and what came of it, in one record that is kept beside it.

A version is the refit of a recipe that was judged on its holdout, so two packages have reports: the quality gate's is
about the judged one, those of operations and of the refit about the package that serves.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tallywright.records import (
    JUDGED_AGAINST,
    JUDGED_BY,
    OPERATIONS,
    QUALITY,
    REFIT,
    GateReport,
    StoredRecord,
    Verdict,
    VersionVerdict,
    digest_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


class Evidence(StoredRecord):
    """The evidence of one version.

    Attributes:
        model: The model's name.
        verdict: `passed`, `refused` or `undecided`.
        package_digest: The package of the version.
        judged_digest: The package that was judged on the holdout; the same where nothing was refitted.
        champion_digest: Of the package it was compared with, or that there was none.
        gates_digest: Of the settings by which it was judged.
        snapshot: The training snapshot.
        reports: The newest report of each gate.
    """

    model: str
    verdict: VersionVerdict
    package_digest: str
    judged_digest: str
    champion_digest: str = ""
    gates_digest: str = ""
    snapshot: dict[str, Any] = Field(default_factory=dict)
    reports: tuple[GateReport, ...] = ()

    @property
    def digest(self) -> str:
        """The sha256 of the record."""
        return digest_of(self.model_dump(mode="json"))


def evidence_of(
    model: str, package_digest: str, reports: Iterable[GateReport], *, judged: str = "", snapshot_json: str = ""
) -> Evidence:
    """Makes the evidence of a version.

    Args:
        model: The model's name.
        package_digest: Of the version's package.
        reports: The newest report of each gate about it, and about the package that was judged for it.
        judged: Digest of the package that was judged, where the version is its refit.
        snapshot_json: The training snapshot.
    """
    by_gate = {report.gate: report for report in reports}
    quality = by_gate.get(QUALITY)
    return Evidence(
        model=model,
        verdict=verdict_of(by_gate.values(), refitted=bool(judged)),
        package_digest=package_digest,
        judged_digest=judged or package_digest,
        champion_digest=str(quality.observed(JUDGED_AGAINST) or "") if quality else "",
        gates_digest=str(quality.observed(JUDGED_BY) or "") if quality else "",
        snapshot=json.loads(snapshot_json or "{}"),
        reports=tuple(by_gate[gate] for gate in sorted(by_gate)),
    )


def required_gates(*, refitted: bool) -> frozenset[str]:
    """The gates that have to report about a version; one that did not report is one that has not passed."""
    return frozenset({QUALITY, OPERATIONS, REFIT} if refitted else {QUALITY, OPERATIONS})


def verdict_of(reports: Iterable[GateReport], *, refitted: bool = False) -> VersionVerdict:
    """What gate reports say about a version together: one that refuses is enough, and all have to pass."""
    verdicts = {report.gate: report.verdict for report in reports}
    if Verdict.FAIL in verdicts.values():
        return VersionVerdict.REFUSED
    missing = required_gates(refitted=refitted) - verdicts.keys()
    return VersionVerdict.UNDECIDED if missing or Verdict.UNDECIDED in verdicts.values() else VersionVerdict.PASSED
