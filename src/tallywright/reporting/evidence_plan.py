"""The plan of a promotion's evidence: the level that the next try has, and the days that would show a gain.

How many days are needed depends on how much a gain differs from day to day, which the last comparison of a candidate
with its champion has measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.lake import Lake
from tallywright.gates.evidence.interval import days_needed
from tallywright.gates.evidence.level import AS_OF, level_of
from tallywright.gates.evidence.tries import tries_of
from tallywright.gates.quality.superiority import CHAMPION, ERROR
from tallywright.gates.record import reports_of_gate
from tallywright.records import QUALITY
from tallywright.tasks import metric_of

if TYPE_CHECKING:
    from datetime import date

    from tallywright.records import GateReport
    from tallywright.spec import Project

_GAINS: Final = (0.0025, 0.005, 0.01, 0.02, 0.05)
"""Shares of the champion's metric; of a metric that is a share itself, such as AUC, they are the gains."""


@dataclass(frozen=True, slots=True)
class EvidencePlan:
    """What the next candidate has to show.

    Attributes:
        metric: The primary metric.
        unit: Of its values; empty where they have none.
        mode: `superiority` or `refresh`.
        level: The chance that this try promotes a model that is no better; 0 where the year's level is spent.
        level_spent: By the tries within 365 days.
        tries: How many those are.
        next_date: The first as-of date with a level, where this one has none.
        holdout: How many days (or periods) the holdout has.
        shadow_days: How many days in shadow are planned besides.
        measured: The as-of date of the comparison that the days are reckoned from; empty where there was none.
        days: By gain over the champion, in the metric's unit: the days that show it in half of all cases; None where
            ten years would not.
    """

    metric: str
    unit: str
    mode: str
    level: float
    level_spent: float
    tries: int
    next_date: date | None
    holdout: int
    shadow_days: int
    measured: str
    days: dict[str, int | None]

    def as_dict(self) -> dict[str, Any]:
        """The plan as nested dictionaries."""
        return asdict(self)


def evidence_plan(project: Project, as_of: date) -> EvidencePlan:
    """The plan of a training with this as-of date.

    Raises:
        StorageError: The lake cannot be read.
    """
    spec, gates = project.spec, project.spec.gates
    sides = {one.storage.lake: one for one in (project.environment.in_training, project.environment.in_production)}
    lakes = [Lake.of(side) for side in sides.values()]
    reports = [report for _, report in reports_of_gate(lakes, spec, QUALITY)]
    level = level_of(as_of, tries_of(reports), gates.yearly_level)
    metric = gates.primary_metric
    newest = next((report for report in reversed(reports) if report.observed(ERROR + metric) is not None), None)
    return EvidencePlan(
        metric=metric,
        unit=spec.unit_of(metric),
        mode=gates.mode,
        level=level.level,
        level_spent=level.spent,
        tries=level.tries,
        next_date=level.free_from,
        holdout=spec.training.holdout.length,
        shadow_days=spec.planned_shadow_days,
        measured="" if newest is None else str(newest.observed(AS_OF)),
        days={} if newest is None else _days(newest, metric, gates.min_gain, level.level),
    )


def _days(report: GateReport, metric: str, min_gain: float, level: float) -> dict[str, int | None]:
    noise, days = report.observed(ERROR + metric), report.observed("pair_days")
    if not isinstance(noise, float) or not isinstance(days, float) or not level:
        return {}
    champion = report.observed(CHAMPION + metric)
    one = 1.0
    if isinstance(champion, float) and champion and metric_of(metric).unit != "share":
        one = abs(champion)
    gains = [float(f"{gain * one:.3g}") for gain in _GAINS]
    return {f"{min_gain + gain:g}": days_needed(gain, noise * days**0.5, level) for gain in gains}
