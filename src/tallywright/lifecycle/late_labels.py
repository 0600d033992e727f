"""What late labels bring: they are read again, and the days that became mature by them are realised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.observability import log
from tallywright.scoring.commit.manifests import require_tally
from tallywright.scoring.commit.standing import require_standing

if TYPE_CHECKING:
    from datetime import date

    from tallywright.lifecycle.context import RunContext
    from tallywright.monitoring.performance import Due, Performance


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
