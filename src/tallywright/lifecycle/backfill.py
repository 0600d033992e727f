"""A range of days: what would be done to each and why, and doing it, one commit a day."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tallywright.data.ingest import ingest, input_version
from tallywright.data.lake import Lake
from tallywright.errors import InputError, LeakError, NoChampionError, SpecError, TallyError
from tallywright.lifecycle.context import require_day
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.run import run_pipeline
from tallywright.observability import log
from tallywright.registry.resolve import resolve
from tallywright.scoring.engine import Engines
from tallywright.scoring.ensemble import admitted
from tallywright.scoring.preflight import check_leak
from tallywright.scoring.tally import ScoreRequest, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallywright.lifecycle.context import RunContext
    from tallywright.records import ModelRef
    from tallywright.spec import Project


@dataclass(frozen=True, slots=True)
class DayPreview:
    """What scoring one date would do: `action` is score, no-op, ingest and score, or refuse."""

    score_date: date
    model: str
    effective_from: date | None
    action: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The preview as a row."""
        return asdict(self)


def days_between(first: date, last: date) -> Iterator[date]:
    """Each date of the range, both ends included."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


def preview(project: Project, first: date, last: date, *, force: bool = False) -> list[DayPreview]:
    """What a backfill of the range would do, forced or not; reads only, so it knows the raw files as last ingested.

    Raises:
        UsageError: The range leaves the schedule.
    """
    require_day(project.spec, first)
    require_day(project.spec, last)
    lake = Lake.of(project.environment)
    return [_preview_day(project, lake, day, force=force) for day in days_between(first, last)]


def _preview_day(project: Project, lake: Lake, day: date, *, force: bool) -> DayPreview:
    spec = project.spec
    try:
        models = resolve(lake, spec, day)
        check_leak(spec, models, day)
    except (NoChampionError, LeakError, SpecError) as error:
        return DayPreview(day, "–", None, "refuse", error.found)
    models = admitted(spec, models, day)
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


@dataclass(frozen=True, slots=True)
class DayResult:
    """How one day of a backfill ended."""

    score_date: date
    action: str
    rows: int
    model: str
    detail: str
    exit_code: int = 0
    retryable: bool = False


def backfill(
    context: RunContext, first: date, last: date, *, on_day: Callable[[DayResult], None] | None = None
) -> list[DayResult]:
    """Runs the whole score pipeline for each date of the range, in order, in this process.

    The range is ingested at once; if a day of it is refused, each day is ingested by itself. A refused day is reported
    and the next one goes on; the caller sees it in `action`. Nothing is ever triggered: the decisions of a backfill are
    written, not acted upon.
    """
    spec = context.spec
    require_day(spec, first)
    require_day(spec, last)
    steps = tuple(step.name for step in plan(spec, Pipeline.SCORE))
    try:
        ingest(context.project, context.lake, first, last)
    except InputError as error:
        log.warning("day by day, because a day of the range is refused: %s", error.found)
    else:
        steps = tuple(name for name in steps if name != "ingest")
    results = []
    with Engines(context.project.environment.engine) as engines:
        for day in days_between(first, last):
            result = _backfill_day(replace(context, day=day, engines=engines), steps)
            results.append(result)
            if on_day is not None:
                on_day(result)
    return results


def _backfill_day(context: RunContext, steps: tuple[str, ...]) -> DayResult:
    try:
        results = run_pipeline(context, Pipeline.SCORE, only=steps)
    except TallyError as error:
        return DayResult(
            context.day, "refused", 0, "–", f"{type(error).__name__}: {error}", error.exit_code, error.retryable
        )
    scored = results["score"]
    return DayResult(
        context.day, scored["action"], scored["rows"], ", ".join(scored["models"]),
        f"generation {scored['generation']}, {results['decide']['state']}",
    )  # fmt: skip
