"""What stands behind an entry of the promotion log: its version's training and gates, and the scores that it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.delta.lake import Lake
from tallywright.records import Decision
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import known_versions
from tallywright.reporting.backward.affected import affected
from tallywright.reporting.backward.origins import Asked, OriginKind
from tallywright.reporting.backward.trained import training_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.records import Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import Project


def behind(project: Project, entries: Sequence[Promotion]) -> list[dict[str, Any]]:
    """The evidence of each of some entries, for people and programs.

    Returns:
        `trained_on`: the windows with both ends, the version of the feature table, the code, who started it and why
        (or why that is unknown); `gates`: the verdict of each by which it was decided, and the checks that did not
        pass; `scores`: days and rows of the version, those that stand, were replaced since, and are of shadows.

    Raises:
        StorageError: The lake cannot be read.
    """
    lake, spec = Lake.of(project.environment), project.spec
    rows = known_versions(lake, spec, PromotionLog(lake, spec).entries()) if entries else {}
    return [
        {
            "model_version": entry.model_version,
            "trained_on": _training(project, rows.get(entry.model_version)),
            "gates": _gates(entry),
            "scores": _scores(project, entry.model_version),
        }
        for entry in entries
    ]


def _scores(project: Project, version: int) -> dict[str, Any]:
    scored = affected(project, Asked(OriginKind.VERSION, str(version)))
    dates = {"from": scored.scores[0].first, "to": max(one.last for one in scored.scores)} if scored.scores else {}
    return {name: count for name, count in scored.total.items() if count} | dates


def _training(project: Project, row: VersionRow | None) -> dict[str, Any]:
    if row is None:
        return {"unknown": "this lake has no record of the version"}
    training = training_of(project, row)
    if training.windows is None:
        return {"unknown": training.unknown}
    windows = {split: f"{first} to {last}" for split, (first, last) in training.windows.items()}
    facts = {"code": training.code_version, "author": row.author, "reason": row.reason}
    told = {name: fact for name, fact in facts.items() if fact}
    return windows | {"features_version": training.features_version} | told


def _gates(entry: Promotion) -> dict[str, Any]:
    reports = Decision.from_json(entry.decision_json).reports if entry.decision_json else ()
    not_passed = [
        f"{report.gate}: {check.name} {check.verdict.value} ({check.bound})"
        for report in reports
        for check in report.checks
        if not check.goes_through
    ]
    verdicts = {report.gate: report.verdict.value for report in reports}
    return verdicts | ({"not_passed": not_passed} if not_passed else {})
