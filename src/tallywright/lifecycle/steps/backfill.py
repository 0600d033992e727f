"""The step of the backfill pipeline: a range of days in one process."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import RangeError, TallyError, UsageError, listed
from tallywright.lifecycle.backfill import DayResult, verdict
from tallywright.lifecycle.backfill import backfill as run_range
from tallywright.lifecycle.late_labels import unrealised_error
from tallywright.observability import log

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.lifecycle.late_labels import Unrealised

_SHOWN: Final = 10


def backfill(context: RunContext) -> dict[str, Any]:
    """Scores each day from the run's date to its last date; a refused day stops no other, but fails the step.

    Raises:
        UsageError: The last date is missing or before the first.
        RangeError: Some days failed in a way that a retry can cure. A repeat leaves days alone that are done.
        TallyError: All days that are not done were refused; it names them. Of the class that `verdict` says.
        TallyError: All days are done, and scored dates could not be realised.
    """
    last = context.options.last
    if last is None or last < context.day:
        raise UsageError(
            f"the range starts on {context.day} and its last date is {last or 'missing'}",
            expected="a last date that is not before the first; both belong to the range",
            remedy=f"tally run {context.spec.name} backfill --date FIRST --to LAST",
        )
    results = run_range(context, context.day, last, on_day=_log_day)
    refused = [day for day in results if day.exit_code]
    if refused:
        raise _refusal(results, refused)
    unrealised = [one for day in results for one in day.unrealised]
    if unrealised:
        raise _not_realised(context.spec.name, unrealised)
    return {
        "first": str(context.day),
        "last": str(last),
        "days": len(results),
        "rows": sum(day.rows for day in results),
        "actions": dict(Counter(day.action for day in results)),
    }


def _log_day(day: DayResult) -> None:
    log.info("%s %s: %s rows, %s, %s", day.score_date, day.action, f"{day.rows:,}", day.model, day.detail)


def _not_realised(model: str, unrealised: list[Unrealised]) -> TallyError:
    """The error of a range whose days are all done; a repeat is worth one where a retry can cure some of it."""
    error = unrealised_error(model, unrealised)
    if not error.retryable:
        return error
    return RangeError(f"all days are done, but {error.found}", expected=error.expected, remedy=error.remedy)


def _refusal(results: list[DayResult], refused: list[DayResult]) -> TallyError:
    named = listed([f"{day.score_date}: {day.detail.splitlines()[0]}" for day in refused], _SHOWN, "; ")
    kinds = {kind.exit_code: kind for kind in TallyError.__subclasses__()}
    return kinds[verdict(results)](
        f"{len(refused)} of {len(results)} days were refused: {named}",
        expected="every day of the range scored",
        remedy="see to these days and run the same range again: days that are done are left alone",
    )
