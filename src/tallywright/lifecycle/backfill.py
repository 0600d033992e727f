"""A range of days, one commit a day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tallywright.data.etl.ingest import ingest
from tallywright.errors import InputError, TallyError
from tallywright.gates.session import DayGates
from tallywright.lifecycle.context import require_day
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.run import run_pipeline
from tallywright.observability import log
from tallywright.scoring.engines.registry import Engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallywright.lifecycle.context import RunContext


def days_between(first: date, last: date) -> Iterator[date]:
    """Each date of the range, both ends included."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


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
    with Engines(context.project.environment.engine) as engines, DayGates() as day_gates:
        for day in days_between(first, last):
            shared = replace(context, day=day, engines=engines, day_gates=day_gates, given=context.shared)
            result = _backfill_day(shared, steps)
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
        f"generation {scored['generation']}, {results['monitor']['state']}",
    )  # fmt: skip
