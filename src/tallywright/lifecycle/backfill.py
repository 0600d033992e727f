"""Backfill: runs the score pipeline for a range of days, one commit a day."""

from __future__ import annotations

import traceback
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.awaited import require_awaited
from tallywright.data.etl.ingest import ingest_and_relabel
from tallywright.errors import InputError, IntegrityError, RangeError, TallyError, UnexpectedError
from tallywright.gates.validate import DayGates
from tallywright.interruption import raise_if_stopped
from tallywright.lifecycle.context import require_day, safe_name
from tallywright.lifecycle.late_labels import read_labels_again, realise_all
from tallywright.lifecycle.periods import record
from tallywright.lifecycle.plan import Actor, Pipeline, find_step, plan
from tallywright.lifecycle.run import run_pipeline, told_of
from tallywright.lifecycle.seals import seal_run
from tallywright.memory import release_memory
from tallywright.monitoring.periods import Period, PeriodState, reason_code
from tallywright.observability import log
from tallywright.scoring.commit.manifests import manifests, scored_dates
from tallywright.scoring.engines.base import Engines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.late_labels import Unrealised
    from tallywright.spec import ModelSpec


CLOSED: Final = "closed"
"""The action of a day that the calendar closes."""
_DAYS_A_COMMIT: Final = 30
"""Days whose rows in the small tables share one commit a table."""


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
    """Of the day's decision, or why it was not judged."""
    reason: str = ""
    """Code of a refusal."""
    checks: tuple[str, ...] = ()
    """Names of the checks that refused the day."""
    unrealised: tuple[Unrealised, ...] = ()
    """The scored dates that the run could not realise: this one, or others as of it."""

    def as_dict(self) -> dict[str, Any]:
        """The day as a row."""
        return asdict(replace(self, unrealised=())) | {"unrealised": [one.as_dict() for one in self.unrealised]}


def backfill(
    context: RunContext, first: date, last: date, *, on_day: Callable[[DayResult], None] | None = None
) -> list[DayResult]:
    """Runs the whole score pipeline for each date of the range, in order, in this process.

    The range is ingested at once; if a day of it is refused, each day is ingested by itself. A day that is refused, or
    fails by an exception that is none of ours (`failed`), is reported and the next one goes on; the caller sees it in
    `action`, and `verdict` says what it means for the range. The rows that follow the tallies of up to 30 days share
    one commit a table, because they can be made again; late labels are read again once, and decisions folded once, at
    the end. A scored date that cannot be realised stops nothing either: a result says it in `unrealised`. Closed days
    are left out. Nothing is ever triggered: the decisions of a backfill are written, not acted upon.
    """
    spec = context.spec
    require_day(spec, first)
    require_day(spec, last)
    ingested, changed = _ingested(context, first, last)
    steps = _daily_steps(spec, ingested=ingested)
    results: list[DayResult] = []
    failed: dict[date, Unrealised] = {}
    with (
        Engines(context.project.environment.engine) as engines,
        DayGates() as day_gates,
        context.lake.batching(),
    ):
        context = replace(context, engines=engines, day_gates=day_gates, given=context.shared)
        for days in batched(context.spec.schedule.calendar.between(first, last), _DAYS_A_COMMIT):
            if results:
                context.lake.forget()  # the memory of a long range would grow with its days
                release_memory()
            found = [_score_day(replace(context, day=day), steps, on_day) for day in days]
            context.lake.flush()  # what is realised asks the tallies of these days
            if changed is None and ingested and _is_any_done(found):
                changed, _ = read_labels_again(context, first, last)
            results += found
            _realise(context, found, failed, changed=changed or ())
            context.lake.flush()
        if not ingested and _is_any_done(results):
            changed, _ = read_labels_again(context, first, last)
            _realise(context, results, failed, changed=changed)
    record(context, list(_periods(context, results)))
    decided = _decided(context, _with_unrealised(results, failed.values()))
    seal_run(context)
    return decided


def batched(days: Iterable[date], size: int) -> Iterator[tuple[date, ...]]:
    """Yields the days in groups of `size`."""
    remaining = iter(days)
    while group := tuple(islice(remaining, size)):
        yield group


def _daily_steps(spec: ModelSpec, *, ingested: bool) -> frozenset[str]:
    """The steps of each day of a range; a range that was not ingested at once is ingested day by day."""
    first, *others = (step for step in plan(spec, Pipeline.SCORE) if step.actor is Actor.COMMAND)
    return frozenset(step.name for step in (first, *others) if not step.once or (step is first and not ingested))


def _ingested(context: RunContext, first: date, last: date) -> tuple[bool, list[date] | None]:
    """Ingests the range at once; False where a day of it is refused.

    Second come the younger dates whose labels have changed by it; None where these are still to be read.
    """
    try:
        for day in context.spec.schedule.calendar.open_between(first, last):
            require_awaited(context.project, context.lake, day)
        run = partial(ingest_and_relabel, context.project, context.lake, first, last, code_version=context.code_version)
        changed = told_of(context, *find_step(context.spec, "ingest"), run, last=last)
    except InputError as error:
        log.warning("day by day, because a day of the range is refused: %s", error.found)
        return False, None
    except TallyError:
        raise
    except Exception:  # noqa: BLE001 - it is of some day, and the others are scored
        raise_if_stopped()
        log.exception("day by day, because the range as a whole failed")
        return False, None
    return True, changed


def _score_day(context: RunContext, steps: frozenset[str], on_day: Callable[[DayResult], None] | None) -> DayResult:
    closed = context.spec.schedule.calendar.why_closed(context.day)
    try:
        result = DayResult(context.day, CLOSED, 0, "–", closed) if closed else _scored_day(context, steps)
    except TallyError as error:
        raise_if_stopped()
        result = _refused(context.day, error)
    except Exception as error:  # noqa: BLE001 - it is this day's, and the next one is tried
        raise_if_stopped()
        result = _failed(context, error)
    if on_day is not None:
        on_day(result)
    return result


def _scored_day(context: RunContext, steps: frozenset[str]) -> DayResult:
    scored = run_pipeline(context, Pipeline.SCORE, only=steps)["score"]
    models, detail = ", ".join(scored["models"]), f"generation {scored['generation']}"
    if scored.get("withdrawn"):
        detail += f"; {scored['withdrawn']}"
    return DayResult(context.day, scored["action"], scored["rows"], models, detail)


def _refused(day: date, error: TallyError) -> DayResult:
    return DayResult(
        day,
        "refused",
        0,
        "–",
        f"{type(error).__name__}: {error}",
        error.exit_code,
        error.retryable,
        reason=reason_code(error),
        checks=error.checks,
    )


def _failed(context: RunContext, error: Exception) -> DayResult:
    """The day of an exception that is none of ours; its traceback goes to the log and to a file of the run."""
    log.error("%s of %s failed", context.day, context.spec.name, exc_info=error)
    found = UnexpectedError.of(error)
    try:
        file = context.folder / f"failed-{safe_name(str(context.day))}.txt"
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    except (OSError, TallyError) as unwritable:
        log.warning("the traceback is in the log alone: %s", unwritable)
    else:
        found.remedy = f"the traceback is in {file}"
    return replace(_refused(context.day, found), action="failed", retryable=False)


def verdict(results: Sequence[DayResult]) -> int:
    """The exit code of a range, for every way to run one: 0 where no day failed.

    Where a retry can cure one of its days, that of RangeError; else the code that all failed days have, else that of
    damage, of an unexpected error, or of a refused input.
    """
    failed = [day for day in results if day.exit_code]
    codes = {day.exit_code for day in failed}
    if any(day.retryable for day in failed):
        return RangeError.exit_code
    if len(codes) <= 1:
        return next(iter(codes), 0)
    worst = (IntegrityError.exit_code, UnexpectedError.exit_code)
    return next((code for code in worst if code in codes), InputError.exit_code)


def _is_any_done(results: list[DayResult]) -> bool:
    """False where every day was refused: then nothing follows, as in a run of one day."""
    return any(not result.exit_code for result in results)


def _realise(
    context: RunContext, found: list[DayResult], failed: dict[date, Unrealised], *, changed: Collection[date]
) -> None:
    """Realises all days whose labels are mature by now, and keeps in `failed` those that could not be."""
    if not _is_any_done(found):
        return
    from tallywright.monitoring.maturity import RunDates, dates_due

    lake, spec = context.lake, context.spec
    run = RunDates(found[-1].score_date, [result.score_date for result in found if not result.exit_code])
    done, left = realise_all(context, dates_due(lake, spec, run, scored_dates(lake, spec), changed=changed))
    for realised in done:
        failed.pop(realised.score_date, None)
    failed.update({one.score_date: one for one in left})


def _with_unrealised(results: list[DayResult], failed: Iterable[Unrealised]) -> list[DayResult]:
    """Each failure at its own day of the range, or at the last one, as of which it was tried."""
    by_day: dict[date, list[Unrealised]] = defaultdict(list)
    days = {result.score_date for result in results}
    for one in failed:
        by_day[one.score_date if one.score_date in days else results[-1].score_date].append(one)
    return [replace(result, unrealised=tuple(by_day[result.score_date])) for result in results]


def _periods(context: RunContext, results: list[DayResult]) -> Iterator[Period]:
    """Yields what became of the days of the range."""
    tallies = {one.score_date: one for one in manifests(context.lake, context.spec)}
    for result in results:
        if result.reason:
            text = result.detail.splitlines()[0].partition(": ")[2]
            yield Period(
                result.score_date,
                PeriodState.REFUSED,
                result.reason,
                detail=text,
                checks=result.checks,
                exit_code=result.exit_code,
            )
        elif result.action == CLOSED:
            yield Period.closed(result.score_date, result.detail)
        elif result.score_date in tallies:
            yield Period.scored(tallies[result.score_date])


def _decided(context: RunContext, results: list[DayResult]) -> list[DayResult]:
    """Adds the retraining decisions to the days; those that were refused or are closed have one too."""
    from tallywright.monitoring.decisions import decide_days
    from tallywright.monitoring.policy import state_word

    decisions = decide_days(context.lake, context.spec, [result.score_date for result in results])
    words = {day: state_word(decision.state, decision.reasons) for day, decision in decisions.items()}
    counts = Counter(words.values())
    log.info("decisions: %s", ", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    return [result if result.exit_code else replace(result, state=words[result.score_date]) for result in results]
