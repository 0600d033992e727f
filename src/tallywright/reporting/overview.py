"""The overview: one row a due period, joined from tallies, profiles, drift, performance, periods and decisions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.rows import rows_of
from tallywright.monitoring.periods import PeriodState, read_periods
from tallywright.monitoring.policy import NOT_JUDGED, state_word
from tallywright.records import Role
from tallywright.registry.promotion_log import PromotionLog, withdrawals
from tallywright.scoring.commit.manifests import latest_tallies
from tallywright.scoring.commit.standing import listed_problem
from tallywright.tasks import TASKS, TaskName

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date

    from tallywright.records import Manifest
    from tallywright.spec import Project

AUC: Final = "roc_auc"


@dataclass(frozen=True, slots=True)
class PeriodOverview:
    """One due period, scored or not; None where nothing is known (yet).

    `reason` is why there is a tally, or the code of the refusal.
    """

    score_date: date
    state: str
    rows: int
    mean_score: float | None
    model_version: int | None
    generation: int | None
    reason: str
    drifted_columns: tuple[str, ...]
    task: TaskName
    realised_auc: float | None
    """Of a binary model, whatever its primary metric."""
    realised_metric: str
    """The primary metric of the gates."""
    realised: float | None
    """Its value, once the day's labels were known."""
    decision: str | None
    """The state of the policy, or why the period was not judged."""
    roles: str
    """Rows by role, where somebody else than the champion scored some; who was left out; who was withdrawn since."""
    problem: str = ""
    """Why what stands is not what was committed; empty for a sound day."""
    not_judged: str = ""
    """What could not be judged, with its count and the limit."""
    exit_code: int | None = None
    failed_checks: tuple[str, ...] = ()
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The day as a row; an AUC stands in it only where the task has one."""
        left_out = {"task"} if AUC in TASKS[self.task].metrics else {"task", "realised_auc"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def overview(project: Project, first: date | None = None, last: date | None = None) -> list[PeriodOverview]:
    """The due periods of the range (all of them by default), in order: scored ones, and those that were not."""
    lake, spec = Lake.of(project.environment), project.spec

    def inside(day: date) -> bool:
        return (first is None or day >= first) and (last is None or day <= last)

    tallies = [tally for tally in latest_tallies(lake, spec) if inside(tally.manifest.score_date)]
    found = [tally.manifest for tally in tallies]
    problems = {tally.manifest.score_date: listed_problem(lake, spec, tally) for tally in tallies}
    primaries = {manifest.score_date: manifest.primary.role.value for manifest in found}
    means = _by_day(lake, spec.table("profile"), "mean_score", {}, primaries)
    realised = {
        metric: _by_day(lake, spec.table("performance"), "value", {"metric": metric, "slice_key": None}, primaries)
        for metric in {spec.gates.primary_metric, *({AUC} & spec.training.kind.metrics)}
    }
    stored = _by_day(lake, spec.table("decisions"), "state", {"superseded_at": None})
    reasons = _by_day(lake, spec.table("decisions"), "reasons", {"superseded_at": None})
    states = {day: state_word(state, reasons[day]) for day, state in stored.items()}
    drifted = _drifted(lake, spec.table("drift"))
    gone = withdrawals(PromotionLog(lake, spec).entries())
    scored = [
        PeriodOverview(
            score_date=manifest.score_date,
            state=PeriodState.SCORED.value,
            rows=manifest.rows,
            mean_score=means.get(manifest.score_date),
            model_version=manifest.primary.version,
            generation=manifest.generation,
            reason=manifest.reason,
            drifted_columns=drifted.get(manifest.score_date, ()),
            task=spec.training.task,
            realised_auc=realised.get(AUC, {}).get(manifest.score_date),
            realised_metric=spec.gates.primary_metric,
            realised=realised[spec.gates.primary_metric].get(manifest.score_date),
            decision=states.get(manifest.score_date),
            roles=_roles(manifest, gone),
            problem=problems[manifest.score_date],
            not_judged=_not_judged(reasons.get(manifest.score_date, ())),
        )
        for manifest in found
    ]
    others = [
        PeriodOverview(
            score_date=day,
            state=row.state,
            rows=0,
            mean_score=None,
            model_version=None,
            generation=None,
            reason=row.reason,
            drifted_columns=(),
            task=spec.training.task,
            realised_auc=None,
            realised_metric=spec.gates.primary_metric,
            realised=None,
            decision=states.get(day),
            roles="",
            exit_code=row.exit_code,
            failed_checks=row.checks,
            detail=row.detail,
        )
        for day, row in read_periods(lake, spec).items()
        if inside(day) and day not in primaries
    ]
    return sorted([*scored, *others], key=lambda period: period.score_date)


def _not_judged(reasons: Sequence[str]) -> str:
    return "; ".join(text.removeprefix(NOT_JUDGED) for text in reasons if text.startswith(NOT_JUDGED))


def _roles(manifest: Manifest, gone: Collection[int]) -> str:
    rows = manifest.rows_by_role
    parts = [f"{role} {count}" for role, count in rows.items()] if set(rows) != {Role.CHAMPION.value} else []
    parts += [f"{one.role.value} {one.version} left out" for one in manifest.roles if one.note]
    served = dict.fromkeys(one.version for one in manifest.models if one.role is not Role.SHADOW)
    parts += [f"version {version} withdrawn" for version in served if version in gone]
    return ", ".join(parts)


def _by_day(
    lake: Lake, table: str, column: str, where: dict[str, Any], roles: dict[date, str] | None = None
) -> dict[date, Any]:
    """The latest value of a column for each score date; later rows of a date win.

    With `roles`, only rows of the role that answers for their date.
    """
    if lake.find(table) is None:
        return {}
    rows = rows_of(lake.read(table))
    kept = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
    if roles is not None:
        kept = [row for row in kept if row["role"] == roles.get(row["score_date"])]
    kept.sort(key=lambda row: (row.get("generation") or 0, row.get("label_age_days") or 0))
    return {row["score_date"]: row[column] for row in kept}


def _drifted(lake: Lake, table: str) -> dict[date, tuple[str, ...]]:
    if lake.find(table) is None:
        return {}
    columns: dict[date, set[str]] = {}
    for row in rows_of(lake.read(table)):
        if row["violated"]:
            columns.setdefault(row["score_date"], set()).add(row["column_name"])
    return {day: tuple(sorted(names)) for day, names in columns.items()}
