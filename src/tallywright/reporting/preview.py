"""Previews what scoring each date of a range would do, and why; reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tallywright.data.delta.lake import Lake
from tallywright.data.etl.ingest import input_version
from tallywright.errors import InputError, LeakError, NoChampionError, SpecError
from tallywright.lifecycle.context import require_day
from tallywright.registry.resolve import resolve
from tallywright.scoring.day import decide
from tallywright.scoring.prepare import ScoreRequest
from tallywright.scoring.roles.eligibility import check_leak, eligible
from tallywright.spec.calendar import days_between

if TYPE_CHECKING:
    from datetime import date

    from tallywright.records import ModelRef
    from tallywright.spec import Project


@dataclass(frozen=True, slots=True)
class DayPreview:
    """What scoring one date would do: `action` is score, no-op, ingest and score, refuse, or closed."""

    score_date: date
    model: str
    effective_from: date | None
    action: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The preview as a row."""
        return asdict(self)


def preview(project: Project, first: date, last: date, *, force: bool = False) -> list[DayPreview]:
    """Previews a backfill of the range, forced or not; reads only, so raw files count as last ingested.

    Raises:
        UsageError: The range leaves the schedule.
    """
    require_day(project.spec, first)
    require_day(project.spec, last)
    lake = Lake.of(project.environment)
    return [_preview_day(project, lake, day, force=force) for day in days_between(first, last)]


def _preview_day(project: Project, lake: Lake, day: date, *, force: bool) -> DayPreview:
    spec = project.spec
    if closed := spec.schedule.calendar.why_closed(day):
        return DayPreview(day, "–", None, "closed", closed)
    try:
        models = resolve(lake, spec, day)
        check_leak(spec, models, day)
    except (NoChampionError, LeakError, SpecError) as error:
        return DayPreview(day, "–", None, "refuse", error.found)
    models = eligible(spec, models, day)
    named = ", ".join(_named(model) for model in models)
    try:
        source = input_version(lake, spec, day)
    except InputError:
        return DayPreview(day, named, models[0].effective_from, "ingest and score", "the day is not ingested yet")
    request = ScoreRequest(
        spec=spec, lake=lake, input=source, models=models, packages={}, run_id="", code_version="", force=force
    )
    decision = decide(request)
    why = f"{decision.reason}, unless raw files changed since ingest" if decision.action == "no-op" else decision.reason
    return DayPreview(day, named, models[0].effective_from, decision.action, why)


def _named(model: ModelRef) -> str:
    version = "a constant" if model.is_constant else f"version {model.version}"
    return f"{model.name} {version} ({model.role.value})"
