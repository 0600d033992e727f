"""What late labels bring: they are read again, and the days that became mature by them are realised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError, UnexpectedError, listed
from tallywright.interruption import raise_if_stopped
from tallywright.monitoring.periods import reason_code
from tallywright.observability import log
from tallywright.scoring.commit.manifests import require_tally
from tallywright.scoring.commit.standing import require_standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.monitoring.performance import Due, Performance

_SHOWN: Final = 10


def read_labels_again(context: RunContext, first: date, last: date) -> tuple[list[date], str]:
    """Reads the labels of dates younger than a run again; a failure is said, stops nothing, and is made good later.

    Returns:
        The dates whose labels changed, and why it failed, which is empty when it did not.
    """
    from tallywright.data.etl.labels import refresh_labels

    try:
        return [change.score_date for change in refresh_labels(context.project, context.lake, first, last)], ""
    except TallyError as error:
        log.warning("labels of younger dates were not read again; the next run does it: %s", error)
        return [], error.found


@dataclass(frozen=True, slots=True)
class Unrealised:
    """A scored date whose labels could not be compared with its scores, which stand all the same."""

    score_date: date
    error: TallyError

    def as_dict(self) -> dict[str, Any]:
        """As programs read it."""
        error = self.error
        return {
            "score_date": str(self.score_date),
            "reason": reason_code(error),
            "exit_code": error.exit_code,
            "retryable": error.retryable,
            "detail": error.found,
            "remedy": error.remedy,
        }


def realise_all(context: RunContext, dates: Iterable[Due]) -> tuple[list[Performance], list[Unrealised]]:
    """Realises the dates that are due; one that cannot be is said, and stops no other."""
    done: list[Performance] = []
    failed: dict[date, Unrealised] = {}
    for due in dates:
        try:
            done.append(realise_standing(context, due))
        except Exception as error:  # noqa: BLE001 - of whatever class: it is about this date alone
            raise_if_stopped()
            if due.day not in failed:
                log.warning("%s was not realised, and its scores stand: %s", due.day, error)
                log.debug("why", exc_info=error)
            failed[due.day] = Unrealised(due.day, UnexpectedError.of(error))
    return done, list(failed.values())


def unrealised_error(model: str, failed: Sequence[Unrealised]) -> TallyError:
    """The error of a run whose other work is done: the one of the date where it is one, else one that names them.

    It is of a class that a retry may cure where one of them is.
    """
    first = next((one for one in failed if one.error.retryable), failed[0])
    if len(failed) == 1:
        return first.error
    named = listed([f"{one.score_date}: {one.error.found.splitlines()[0]}" for one in failed], _SHOWN, "; ")
    return type(first.error)(
        f"{len(failed)} dates of {model} were not realised: {named}",
        expected=first.error.expected,
        remedy=first.error.remedy,
    )


def realise_standing(context: RunContext, due: Due) -> Performance:
    """Realises a date that is due, if its rows are still those of its tally.

    Raises:
        IntegrityError: They are not.
        TallyError: As `realise`.
    """
    from tallywright.monitoring.maturity import realise

    lake, spec = context.lake, context.spec
    require_standing(lake, spec, require_tally(lake, spec, due.day))
    return realise(lake, spec, due)
