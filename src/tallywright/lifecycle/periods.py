"""What runs record about due periods: a refusal by the step that refuses, the rest by monitor, watch and backfill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import InputError, TallyError, UsageError, listed
from tallywright.monitoring.periods import (
    Period,
    PeriodState,
    due_periods,
    first_due,
    look_back,
    read_periods,
    record_periods,
    unscored_since,
)
from tallywright.observability import log
from tallywright.scoring.commit.manifests import latest_tally, manifests

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.monitoring.periods import PeriodRow

_SHOWN: Final = 10


def record_refusal(context: RunContext, error: TallyError) -> None:
    """Records that the run's day was refused; what keeps that from being written is said and hides no refusal.

    An error that a retry may cure is no refusal: the watch records what came of it. A wrong command is none either.
    """
    if error.retryable or isinstance(error, UsageError):
        return
    try:
        record(context, [Period.refused(context.day, error)])
    except TallyError as problem:
        log.warning("that %s was refused is not recorded: %s", context.day, problem)


def record_scored(context: RunContext, scored: Collection[date]) -> dict[str, Any]:
    """Records the run's day and the closed days before it; finds what was missed since the last scored date.

    Returns:
        Under `catch_up` the first and last of the missed periods that are to be scored now; empty when there are none,
        when this run may not act, or when its day is not the newest. Older ones are recorded as missed.
    """
    lake, spec, day = context.lake, context.spec, context.day
    tally = latest_tally(lake, spec, day)
    rows = read_periods(lake, spec)
    found = [] if tally is None else [Period.scored(tally.manifest)]
    found += _closed_since(context, scored)
    missed = [one for one in unscored_since(spec, day, scored) if not _is_refused(rows.get(one))]
    wanted: list[date] = []
    if missed:
        log.warning("between the last scored date and %s nothing was scored: %s", day, _named(missed))
    if missed and context.options.act and day == max(scored, default=day):
        wanted = missed[len(missed) - min(spec.schedule.catch_up, len(missed)) :]
        left = missed[: len(missed) - len(wanted)]
        found += [Period.missed(one) for one in left]
        if left:
            log.warning("more than schedule.catch_up %d, so left as missed: %s", spec.schedule.catch_up, _named(left))
    record(context, found)
    return {"catch_up": {"from": str(wanted[0]), "to": str(wanted[-1])} if wanted else {}}


def record_due(context: RunContext, scored: Collection[date]) -> list[tuple[date, str]]:
    """Records every due period up to the run's day, and returns those that are to be alarmed about, with their state.

    These are the unscored ones since the last scored date before the day, and older ones that nobody looked at yet.
    """
    lake, spec, day = context.lake, context.spec, context.day
    calendar, rows = spec.schedule.calendar, read_periods(lake, spec)
    looked = due_periods(spec, day, min(day, first_due(scored, rows, day)))
    recent = {*unscored_since(spec, day, scored), day}
    found, alarmed = [], []
    new = [one for one in looked if one in scored and (one not in rows or rows[one].state != PeriodState.SCORED)]
    if new:
        found += [Period.scored(one) for one in manifests(lake, spec) if one.score_date in set(new)]
    for one in (one for one in looked if one not in scored):
        if why := calendar.why_closed(one):
            found.append(Period.closed(one, why))
            continue
        row = rows.get(one)
        if row is None or row.state == PeriodState.CLOSED:
            found.append(Period.missed(one))
        elif one not in recent:
            continue
        alarmed.append((one, f"refused: {row.reason}" if row is not None and _is_refused(row) else "missed"))
    record(context, found)
    return alarmed


def unscored_error(context: RunContext, unscored: Sequence[tuple[date, str]]) -> InputError:
    """The error of a watch that found unscored periods, given in order; it names the newest first."""
    model, first, last = context.spec.name, unscored[0][0], unscored[-1][0]
    named = listed([f"{day} ({state})" for day, state in reversed(unscored)], _SHOWN)
    most = look_back(context.spec)
    return InputError(
        f"{model} has no tally of {named}",
        expected=f"every due period scored (the watch looks back to the last scored date, at most {most} periods)",
        remedy=f"tally backfill {model} --from {first} --to {last}",
    )


def _closed_since(context: RunContext, scored: Collection[date]) -> list[Period]:
    """The closed periods since the last scored date before the run's day."""
    earlier = [one for one in scored if one < context.day]
    if not earlier:
        return []
    calendar = context.spec.schedule.calendar
    looked = due_periods(context.spec, context.day, max(earlier))
    return [Period.closed(one, why) for one in looked if one not in scored and (why := calendar.why_closed(one))]


def _is_refused(row: PeriodRow | None) -> bool:
    return row is not None and row.state == PeriodState.REFUSED


def _named(days: Sequence[date]) -> str:
    return listed([str(day) for day in days], _SHOWN)


def record(context: RunContext, found: Sequence[Period]) -> None:
    """Writes what the run found of some periods."""
    record_periods(context.lake, context.spec, found, run_id=context.run_id, recorded_at=context.now)
