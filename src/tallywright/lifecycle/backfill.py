"""Backfill: runs the score pipeline for a range of days, one commit a day."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from tallywright.data.etl.ingest import ingest
from tallywright.errors import InputError, TallyError
from tallywright.gates.validate import DayGates
from tallywright.lifecycle.context import require_day
from tallywright.lifecycle.plan import Pipeline, plan
from tallywright.lifecycle.run import run_pipeline
from tallywright.observability import log
from tallywright.scoring.commit.manifests import require_tally, scored_dates
from tallywright.scoring.commit.standing import require_standing
from tallywright.scoring.engines.base import Engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tallywright.lifecycle.context import RunContext
    from tallywright.spec import ModelSpec


_DAYS_A_COMMIT: Final = 30
"""Days whose rows in the small tables share one commit a table."""


def days_between(first: date, last: date) -> Iterator[date]:
    """Each date of the range, both ends included."""
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)


@dataclass(frozen=True, slots=True)
class DayResult:
    """The result of one day of a backfill."""

    score_date: date
    action: str
    rows: int
    model: str
    detail: str
    exit_code: int = 0
    retryable: bool = False
    state: str = ""
    """Of the day's decision."""


def backfill(
    context: RunContext, first: date, last: date, *, on_day: Callable[[DayResult], None] | None = None
) -> list[DayResult]:
    """Runs the whole score pipeline for each date of the range, in order, in this process.

    The range is ingested at once; if a day of it is refused, each day is ingested by itself. A refused day is reported
    and the next one goes on; the caller sees it in `action`. The rows that follow the tallies of up to 30 days share
    one commit a table, because they can be made again; decisions are folded once, at the end. Nothing is ever
    triggered: the decisions of a backfill are written, not acted upon.
    """
    spec = context.spec
    require_day(spec, first)
    require_day(spec, last)
    steps = _daily_steps(spec, ingested=_ingested(context, first, last))
    results: list[DayResult] = []
    with (
        Engines(context.project.environment.engine) as engines,
        DayGates() as day_gates,
        context.lake.batching(),
    ):
        context = replace(context, engines=engines, day_gates=day_gates, given=context.shared)
        for days in batched(days_between(first, last), _DAYS_A_COMMIT):
            if results:
                context.lake.forget()  # the memory of a long range would grow with its days
            found = [_score_day(replace(context, day=day), steps, on_day) for day in days]
            context.lake.flush()  # what is realised asks the tallies of these days
            results += _realised(context, found)
            context.lake.flush()
    return _decided(context, results)


def batched(days: Iterable[date], size: int) -> Iterator[tuple[date, ...]]:
    """Yields the days in groups of `size`."""
    remaining = iter(days)
    while group := tuple(islice(remaining, size)):
        yield group


def _daily_steps(spec: ModelSpec, *, ingested: bool) -> frozenset[str]:
    """The steps of each day of a range; a range that was not ingested at once is ingested day by day."""
    first, *others = plan(spec, Pipeline.SCORE)
    return frozenset(step.name for step in (first, *others) if not step.once or (step is first and not ingested))


def _ingested(context: RunContext, first: date, last: date) -> bool:
    """Ingests the range at once; False where a day of it is refused."""
    try:
        ingest(context.project, context.lake, first, last)
    except InputError as error:
        log.warning("day by day, because a day of the range is refused: %s", error.found)
        return False
    return True


def _score_day(context: RunContext, steps: frozenset[str], on_day: Callable[[DayResult], None] | None) -> DayResult:
    try:
        scored = run_pipeline(context, Pipeline.SCORE, only=steps)["score"]
        models, detail = ", ".join(scored["models"]), f"generation {scored['generation']}"
        if scored.get("withdrawn"):
            detail += f"; {scored['withdrawn']}"
        result = DayResult(context.day, scored["action"], scored["rows"], models, detail)
    except TallyError as error:
        result = _refused(context.day, error)
    if on_day is not None:
        on_day(result)
    return result


def _refused(day: date, error: TallyError) -> DayResult:
    return DayResult(day, "refused", 0, "–", f"{type(error).__name__}: {error}", error.exit_code, error.retryable)


def _realised(context: RunContext, found: Sequence[DayResult]) -> list[DayResult]:
    """Realises the days whose labels matured with these; where that fails, the day that it belongs to is refused."""
    from tallywright.monitoring.performance import days_due, realised_when_mature

    scored = scored_dates(context.lake, context.spec)
    done: set[date] = set()
    results = []
    for result in found:
        due = [] if result.exit_code else days_due(context.spec, result.score_date, scored)
        try:
            for day in (day for day in due if day not in done):
                done.add(day)
                require_standing(context.lake, context.spec, require_tally(context.lake, context.spec, day))
                realised_when_mature(context.lake, context.spec, day)
            results.append(result)
        except TallyError as error:
            log.warning("%s was scored, and what its labels say of earlier days was not: %s", result.score_date, error)
            results.append(_refused(result.score_date, error))
    return results


def _decided(context: RunContext, results: list[DayResult]) -> list[DayResult]:
    """Adds the retraining decisions to the days that were scored."""
    from tallywright.monitoring.decisions import decide_days

    scored = [result.score_date for result in results if not result.exit_code]
    if not scored:
        return results
    decisions = decide_days(context.lake, context.spec, scored)
    states = Counter(decision.state.value for decision in decisions.values())
    log.info("decisions: %s", ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    return [
        replace(result, state=decisions[result.score_date].state.value) if result.score_date in decisions else result
        for result in results
    ]
