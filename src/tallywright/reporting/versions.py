"""The versions of a model: state, metrics, gates, and the dates on which each is champion. Reads the lake alone."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.record import reports_of_version
from tallywright.records import QUALITY, REFIT, Verdict
from tallywright.registry.evidence import verdict_of
from tallywright.registry.numbers import log_for_aliases
from tallywright.registry.promotion_log import champion_lines, champion_on, withdrawals
from tallywright.registry.stages import returned, stage_named, stage_on
from tallywright.registry.versions_table import known_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.records import GateReport, Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec import ModelSpec, Project

METRICS: Final = "metrics"
"""The check of a quality report whose evidence names metrics, for versions of before metrics were recorded."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version; `champion` lists the dates on which it is champion as the log stands now, the last `from D` on."""

    version: int
    state: str
    """`passed`, `refused` (a gate failed) or `undecided` (a gate has not reported, or could not decide yet)."""
    gates: str
    metrics: dict[str, float]
    champion: tuple[str, ...]
    withdrawn: str
    """Why it was withdrawn; empty when it was not."""
    stage: str
    """The last stage in which it scores beside a champion, with its dates, or why it was returned; empty for others."""
    trained_through: date | None
    recorded_at: datetime
    reason: str
    """Why it was trained, where somebody said so."""
    run_id: str
    digest: str
    origin: str = ""
    """Where it came from and by which number, as `dev version 2`; empty where it was registered here."""

    def as_dict(self) -> dict[str, Any]:
        """The version as a row."""
        return asdict(self)


def versions(project: Project, lake: Lake) -> list[VersionSummary]:
    """All versions that this lake knows of, the newest last."""
    spec = project.spec
    entries = log_for_aliases(project, lake).entries()
    history = _History(champion_dates(entries), withdrawals(entries), stages_of(entries))
    rows = known_versions(lake, spec, entries)
    return [_version(lake, spec, rows[number], history) for number in sorted(rows)]


@dataclass(frozen=True, slots=True)
class _History:
    """What the promotion log says, by version: dates as champion, withdrawal, trial."""

    champion: Mapping[int, Sequence[str]]
    withdrawn: Mapping[int, Promotion]
    stages: Mapping[int, str]


def stages_of(entries: Sequence[Promotion]) -> dict[int, str]:
    """The last stage of each challenger with its dates, or its return, in words."""
    found: dict[int, str] = {}
    changes = sorted({entry.effective_from for entry in entries})
    for first, after in zip_longest(changes, changes[1:]):
        stage = stage_on(entries, first)
        if stage is not None:
            # Ended by what is decided already: the champion of a date to come, say.
            end = "" if after is None or stage_on(entries, after) == stage else f" to {after - timedelta(days=1)}"
            found[stage.model_version] = f"{stage_named(stage)} from {stage.effective_from}{end}"
    return found | {
        version: f"returned from {entry.effective_from}: {entry.reason}" for version, entry in returned(entries).items()
    }


def _version(lake: Lake, spec: ModelSpec, row: VersionRow, history: _History) -> VersionSummary:
    gone = history.withdrawn.get(row.model_version)
    newest = reports_of_version(lake, spec, row.package_digest, row.judged_against)
    return VersionSummary(
        version=row.model_version,
        state=verdict_of(newest.values(), refitted=REFIT in newest).value,
        gates=", ".join(f"{gate} {_told(newest[gate])}" for gate in sorted(newest)) or "none reported",
        metrics=json.loads(row.metrics_json) if row.metrics_json else _metrics_in(newest),
        champion=tuple(history.champion.get(row.model_version, ())),
        withdrawn="" if gone is None else f"line {gone.sequence}: {gone.reason}",
        stage=history.stages.get(row.model_version, ""),
        trained_through=row.trained_through,
        recorded_at=row.recorded_at,
        reason=row.reason,
        run_id=row.run_id,
        digest=row.package_digest,
        origin="" if row.origin is None else str(row.origin),
    )


def _told(report: GateReport) -> str:
    failed = [check.name for kind in (Verdict.FAIL, Verdict.UNDECIDED) for check in report.with_verdict(kind)]
    return f"{report.verdict.value} ({', '.join(failed)})" if failed else report.verdict.value


def _metrics_in(newest: Mapping[str, GateReport]) -> dict[str, float]:
    """The metrics that a quality report names: those with a bound, and those in the evidence of the others."""
    quality = newest.get(QUALITY)
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
