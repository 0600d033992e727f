"""Which scored dates are to be realised: all whose labels are mature, whether or not their neighbours were scored.

Nothing here depends on the order of runs. A date is due while it has no rows of its mature label age, or has those of
labels that were read again since; so is the age at which labels are not waited for any longer, where that is later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tallywright.data.delta.table import Table
from tallywright.data.etl.label_readings import label_readings, read_as_of
from tallywright.monitoring.performance import PERFORMANCE, Due, label_age, realised
from tallywright.observability import log

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.monitoring.performance import Performance
    from tallywright.spec.calendar import Calendar
    from tallywright.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class RunDates:
    """The dates of a run.

    Attributes:
        last: Its last date. This, or a later date that was scored, says how far business time has come.
        done: Dates that it may have scored again: they are realised again, once they are mature.
    """

    last: date
    done: Collection[date] = ()


def dates_due(
    lake: Lake, spec: ModelSpec, run: RunDates, scored: Collection[date], *, changed: Collection[date] = ()
) -> list[Due]:
    """The scored dates that are to be realised after a run, in order.

    Args:
        lake: What is realised already is read, and which labels it was computed from.
        spec: Whose labels.
        run: The dates of the run.
        scored: All scored dates.
        changed: Dates of which this run has found other labels than before.
    """
    newest = max((run.last, *scored))
    calendar, maturity, wait = spec.schedule.calendar, spec.data.label_maturity, spec.data.label_wait
    standing, readings = _computed_from(lake, spec), label_readings(lake, spec)
    found: list[Due] = []
    for day in sorted(scored):
        matures = calendar.settled(day, maturity)
        if matures > newest:
            continue
        reading = readings.get(day)
        early, late = (reading.mature_fingerprint, reading.fingerprint) if reading is not None else (None, None)
        due = partial(_due, standing, calendar, restated=day in changed)
        mature = due(day, matures, early)
        if mature is not None or day in run.done:
            found.append(mature or Due(day, matures, early))
        ends = calendar.settled(day, wait)
        later = calendar.last_open_on(read_as_of(spec, day, newest))
        older = label_age(calendar, day, later) > label_age(calendar, day, matures)
        if older and (later == ends or day in changed):
            again = due(day, later, late)
            found += [again] if again is not None else []
    return found


def realise(lake: Lake, spec: ModelSpec, due: Due) -> Performance:
    """As `realised`, of a date that is due; a restatement is said.

    Raises:
        TallyError: As `realised`.
    """
    found = realised(lake, spec, due.day, due.as_of, fingerprint=due.fingerprint)
    if due.restates:
        log.info("performance of %s at a label age of %d days is restated: its labels have changed",
                 due.day, found.label_age_days)  # fmt: skip
    return found


def _computed_from(lake: Lake, spec: ModelSpec) -> dict[tuple[date, int], str | None]:
    """The fingerprint of the labels from which each date and label age was realised."""
    rows = Table(PERFORMANCE, lake, spec).rows(
        {"slice_key": None}, ["score_date", "label_age_days", "labels_fingerprint"]
    )
    return {(row["score_date"], row["label_age_days"]): row.get("labels_fingerprint") for row in rows}


def _due(
    standing: dict[tuple[date, int], str | None],
    calendar: Calendar,
    day: date,
    as_of: date,
    fingerprint: str | None,
    *,
    restated: bool,
) -> Due | None:
    """The date where it was not realised as of that day, or from other labels; None where nothing is to be done."""
    age = label_age(calendar, day, as_of)
    if (day, age) not in standing:
        return Due(day, as_of, fingerprint)
    computed = standing[day, age]
    # Rows of before do not say which labels they were computed from.
    other = restated if computed is None or fingerprint is None else computed != fingerprint
    return Due(day, as_of, fingerprint, restates=True) if other else None
