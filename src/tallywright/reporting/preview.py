"""Previews what scoring each date of a range would do, and why; reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tallywright.data.delta.lake import Lake
from tallywright.data.inputs.versions import input_version
from tallywright.errors import CommitConflictError, InputError, IntegrityError, LeakError, NoChampionError, SpecError
from tallywright.lifecycle.context import require_day
from tallywright.lifecycle.withdrawn import models_of_day
from tallywright.scoring.day import decide
from tallywright.scoring.prepare import ScoreRequest
from tallywright.scoring.roles.eligibility import check_leak, eligible

if TYPE_CHECKING:
    from datetime import date

    from tallywright.records import InputVersion, ModelRef
    from tallywright.spec import ModelSpec, Project


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


def preview(
    project: Project, first: date, last: date, *, force: bool = False, rescore: bool = False
) -> list[DayPreview]:
    """Previews a backfill of the range with these options; reads only, so raw files count as last ingested.

    Raises:
        UsageError: The range leaves the schedule.
    """
    require_day(project.spec, first)
    require_day(project.spec, last)
    lake = Lake.of(project.environment)
    return [
        _preview_day(project, lake, day, force=force, rescore=rescore)
        for day in project.spec.schedule.calendar.between(first, last)
    ]


def _preview_day(project: Project, lake: Lake, day: date, *, force: bool, rescore: bool) -> DayPreview:
    spec = project.spec
    if closed := spec.schedule.calendar.why_closed(day):
        return DayPreview(day, "–", None, "closed", closed)
    source = _input_of(lake, spec, day)
    try:
        found = models_of_day(lake, spec, day, source, rescore=rescore or force)
        check_leak(spec, found.models, day)
    except (NoChampionError, LeakError, SpecError) as error:
        return DayPreview(day, "–", None, "refuse", error.found)
    models = eligible(spec, found.models, day)
    named = ", ".join(_named(model) for model in models)
    if source is None:
        return DayPreview(day, named, models[0].effective_from, "ingest and score", "the day is not ingested yet")
    request = ScoreRequest(
        spec=found.spec_of_day(spec),
        lake=lake,
        input=source,
        models=models,
        packages={},
        run_id="",
        code_version="",
        force=force,
        promotion_sequence=found.promotion_sequence,
        sequence_behind=found.resolution.sequence_behind,
        passed_over=found.passed_over,
    )
    try:
        decision = decide(request)
    except CommitConflictError as error:
        return DayPreview(day, named, models[0].effective_from, "refuse", error.found)
    why = f"{decision.reason}, unless raw files changed since ingest" if decision.action == "no-op" else decision.reason
    why += f"; {found.note}" if found.note else ""
    return DayPreview(day, named, models[0].effective_from, decision.action, why)


def _input_of(lake: Lake, spec: ModelSpec, day: date) -> InputVersion | None:
    try:
        return input_version(lake, spec, day)
    except (InputError, IntegrityError):
        return None


def _named(model: ModelRef) -> str:
    version = "a constant" if model.is_constant else f"version {model.version}"
    return f"{model.name} {version} ({model.role.value})"
