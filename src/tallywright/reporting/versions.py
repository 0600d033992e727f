"""The versions of a model: state, metrics, gates, and the dates on which each is champion. Reads the lake alone."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.record import reports
from tallywright.records import Verdict
from tallywright.registry.promotion_log import PromotionLog, champion_lines, champion_on, withdrawals
from tallywright.registry.transitions import REQUIRED_GATES
from tallywright.registry.versions_table import known_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.records import GateReport, Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import ModelSpec, Project

PASSED: Final = "passed"
REFUSED: Final = "refused"
UNDECIDED: Final = "undecided"
METRICS: Final = "metrics"
"""The check of a quality report whose evidence names metrics, for versions of before metrics were recorded."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version; `champion` lists the dates on which it is champion as the log stands now, the last `from D` on."""

    version: int
    state: str
    """`passed`, `refused` (a gate failed) or `undecided` (a gate has not reported)."""
    gates: str
    metrics: dict[str, float]
    champion: tuple[str, ...]
    withdrawn: str
    """Why it was withdrawn; empty when it was not."""
    trained_through: date | None
    recorded_at: datetime
    reason: str
    """Why it was trained, where somebody said so."""
    run_id: str
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """The version as a row."""
        return asdict(self)


def versions(project: Project, lake: Lake) -> list[VersionSummary]:
    """All versions that this lake knows of, the newest last."""
    spec = project.spec
    entries = PromotionLog(lake, spec).entries()
    periods, gone = champion_dates(entries), withdrawals(entries)
    rows = known_versions(lake, spec, entries)
    return [_version(lake, spec, rows[number], periods, gone.get(number)) for number in sorted(rows)]


def _version(
    lake: Lake, spec: ModelSpec, row: VersionRow, periods: Mapping[int, Sequence[str]], gone: Promotion | None
) -> VersionSummary:
    newest = {report.gate: report for report in reports(lake, spec, subject=row.package_digest)}
    return VersionSummary(
        version=row.model_version,
        state=state_of(newest),
        gates=", ".join(f"{gate} {_told(newest[gate])}" for gate in sorted(newest)) or "none reported",
        metrics=json.loads(row.metrics_json) if row.metrics_json else _metrics_in(newest),
        champion=tuple(periods.get(row.model_version, ())),
        withdrawn="" if gone is None else f"line {gone.sequence}: {gone.reason}",
        trained_through=row.trained_through,
        recorded_at=row.recorded_at,
        reason=row.reason,
        run_id=row.run_id,
        digest=row.package_digest,
    )


def state_of(newest: Mapping[str, GateReport]) -> str:
    """The state of a version by the newest report of each gate."""
    if any(report.verdict is Verdict.FAIL for report in newest.values()):
        return REFUSED
    return PASSED if newest.keys() >= REQUIRED_GATES else UNDECIDED


def _told(report: GateReport) -> str:
    failed = [check.name for check in report.failed]
    return f"{report.verdict.value} ({', '.join(failed)})" if failed else report.verdict.value


def _metrics_in(newest: Mapping[str, GateReport]) -> dict[str, float]:
    """The metrics that a quality report names: those with a bound, and those in the evidence of the others."""
    quality = newest.get("quality")
    if quality is None:
        return {}
    found = {}
    for check in quality.checks:
        if check.name.startswith("floor_") and isinstance(check.observed, float):
            found[check.name.removeprefix("floor_")] = check.observed
        elif check.name == METRICS:
            for name, _, value in (part.partition(" ") for part in check.evidence.split(", ")):
                if value.replace(".", "", 1).replace("-", "", 1).isdigit():
                    found[name] = float(value)
    return found


def champion_dates(entries: Sequence[Promotion]) -> dict[int, list[str]]:
    """The dates on which each version is champion, as the log stands now: `A to B`, or `from A`."""
    starts = sorted({entry.effective_from for entry in champion_lines(entries)})
    found: dict[int, list[str]] = defaultdict(list)
    runs: list[tuple[int, date, date | None]] = []
    for start, following in zip_longest(starts, starts[1:]):
        champion = champion_on(entries, start)
        if champion is None:
            continue
        last = None if following is None else following - timedelta(days=1)
        if runs and runs[-1][0] == champion.model_version and runs[-1][2] == start - timedelta(days=1):
            runs[-1] = (champion.model_version, runs[-1][1], last)
        else:
            runs.append((champion.model_version, start, last))
    for version, first, last in runs:
        found[version].append(f"from {first}" if last is None else f"{first} to {last}")
    return dict(found)
