"""Due periods: the rows of `<model>__periods`, one current row a score date: scored, refused, closed or missed.

A date that was not scored stands nowhere else. Rows never change: when a date's state does, its row is marked as
superseded and the next revision follows. A tally is the strongest state: a later refusal to score the date again is
kept as history beside it, because the scores stand.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.records import PeriodRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.errors import TallyError
    from tallywright.records import Manifest
    from tallywright.spec.model import ModelSpec

_LOOK_BACK: Final = 92
_HOURS_A_DAY: Final = 24


def look_back(spec: ModelSpec) -> int:
    """The watch, and the newest run after an outage, look at so many open periods before theirs, at most."""
    return _LOOK_BACK * (_HOURS_A_DAY if spec.is_hourly else 1)


class PeriodState(StrEnum):
    """What became of a due period."""

    SCORED = "scored"
    REFUSED = "refused"
    CLOSED = "closed"
    MISSED = "missed"


class PeriodRow(PeriodRecord):
    """One row of `<model>__periods`."""

    score_date: date
    revision: int
    model_name: str
    state: str
    reason: str
    detail: str
    checks: tuple[str, ...]
    exit_code: int | None
    generation: int | None
    run_id: str
    recorded_at: datetime
    superseded: bool
    superseded_at: datetime | None


PERIODS: Final = Declaration(
    what="periods",
    record=PeriodRow,
    key=("score_date", "revision"),
    slice=("model_name",),
    kind=Kind.UPDATE,
    doc="what became of each due period: scored, refused, closed or missed, with its earlier states",
)


@dataclass(frozen=True, slots=True)
class Period:
    """What was found of a period.

    Attributes:
        score_date: The period.
        state: What became of it.
        reason: A code: of the refusal (`gate_refused`, `input`), or why there is a tally (`first`, `model`).
        detail: The first line of the error, or the rule that closes the date.
        checks: Names of the failed checks of a gate.
        exit_code: Of the refusal.
        generation: Of the tally.
    """

    score_date: date
    state: PeriodState
    reason: str
    detail: str = ""
    checks: tuple[str, ...] = ()
    exit_code: int | None = None
    generation: int | None = None

    @classmethod
    def scored(cls, manifest: Manifest) -> Period:
        """Of a committed tally."""
        day, reason = manifest.score_date, manifest.reason
        return cls(day, PeriodState.SCORED, reason, generation=manifest.generation)

    @classmethod
    def refused(cls, day: date, error: TallyError) -> Period:
        """Of a run that ended with this error."""
        return cls(
            day,
            PeriodState.REFUSED,
            reason_code(error),
            detail=error.found.splitlines()[0],
            checks=error.checks,
            exit_code=error.exit_code,
        )

    @classmethod
    def closed(cls, day: date, why: str) -> Period:
        """Of a date that the calendar closes."""
        return cls(day, PeriodState.CLOSED, "closed", detail=why)

    @classmethod
    def missed(cls, day: date) -> Period:
        """Of a date whose deadline has passed without a tally."""
        return cls(day, PeriodState.MISSED, "not_scored")

    def is_said_by(self, row: PeriodRow) -> bool:
        """True when the row says exactly this."""
        return (
            Period(
                row.score_date,
                PeriodState(row.state),
                row.reason,
                row.detail,
                row.checks,
                row.exit_code,
                row.generation,
            )
            == self
        )


def reason_code(error: TallyError) -> str:
    """The class of an error as a code: `gate_refused` of a GateRefusedError."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.known_as.removesuffix("Error")).lower()


def current_periods(rows: Iterable[PeriodRow]) -> dict[date, PeriodRow]:
    """The rows that hold now, by date."""
    return {row.score_date: row for row in rows if not row.superseded}


def read_periods(lake: Lake, spec: ModelSpec) -> dict[date, PeriodRow]:
    """The current row of each period that has one."""
    return current_periods(Table(PERIODS, lake, spec).read())


def record_periods(
    lake: Lake, spec: ModelSpec, found: Sequence[Period], *, run_id: str = "", recorded_at: datetime | None = None
) -> None:
    """Writes what was found of some periods, in one commit; what is known already makes none.

    Args:
        lake: `<model>__periods` is written.
        spec: The model.
        found: At most one a date.
        run_id: The run that found it.
        recorded_at: The wall clock; now, when not given.
    """
    now = recorded_at or datetime.now(UTC)

    def propose(rows: list[PeriodRow]) -> list[PeriodRow] | None:
        by_date: dict[date, list[PeriodRow]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.revision):
            by_date[row.score_date].append(row)
        new = {one.score_date: _with(spec, by_date[one.score_date], one, run_id, now) for one in found}
        if all(standing is None for standing in new.values()):
            return None
        kept = by_date | {day: standing for day, standing in new.items() if standing is not None}
        return [row for day in sorted(kept) for row in kept[day]]

    if found:
        Table(PERIODS, lake, spec).update(propose, {"model_name": spec.name})


def _with(
    spec: ModelSpec, standing: Sequence[PeriodRow], found: Period, run_id: str, now: datetime
) -> list[PeriodRow] | None:
    """The rows of one date with the new one; None where it says nothing new."""
    current = next((row for row in standing if not row.superseded), None)
    if current is not None and not _is_news(current, standing[-1], found):
        return None
    stays = current is not None and _is_stronger(current, found)
    kept = [
        row if row is not current or stays else row.model_copy(update={"superseded": True, "superseded_at": now})
        for row in standing
    ]
    added = PeriodRow(
        score_date=found.score_date,
        revision=1 + max((row.revision for row in standing), default=0),
        model_name=spec.name,
        state=found.state.value,
        reason=found.reason,
        detail=found.detail,
        checks=found.checks,
        exit_code=found.exit_code,
        generation=found.generation,
        run_id=run_id,
        recorded_at=now,
        superseded=stays,
        superseded_at=now if stays else None,
    )
    return [*kept, added]


def _is_news(current: PeriodRow, last: PeriodRow, found: Period) -> bool:
    """False for what is known, for an older tally, and for `missed` or `closed` where more is known."""
    if found.is_said_by(current) or found.is_said_by(last):
        return False
    if found.state is PeriodState.SCORED:
        return current.state != PeriodState.SCORED or (current.generation or 0) < (found.generation or 0)
    if found.state is PeriodState.MISSED:
        return current.state == PeriodState.CLOSED
    return found.state is PeriodState.REFUSED or current.state != PeriodState.SCORED


def _is_stronger(current: PeriodRow, found: Period) -> bool:
    """True when the current state outlives what was found: scores stand, whoever is refused to make new ones."""
    return current.state == PeriodState.SCORED and found.state is not PeriodState.SCORED


def unscored_since(spec: ModelSpec, day: date, scored: Collection[date]) -> list[date]:
    """The open periods between the last scored date before `day` and `day`, both left out, in order.

    At most `look_back` of them, the latest; none where no date before `day` was ever scored.
    """
    earlier = [one for one in scored if one < day]
    if not earlier:
        return []
    found: list[date] = []
    for one in _open_before(spec, day):
        if one <= max(earlier) or len(found) == look_back(spec):
            break
        found.append(one)
    return found[::-1]


def first_due(scored: Collection[date], rows: Collection[date], day: date) -> date:
    """The first date of which anything is expected: the first scored one, else the first with a row, else `day`."""
    return min(scored or rows, default=day)


def due_periods(spec: ModelSpec, day: date, first: date) -> list[date]:
    """The periods to be looked at on the deadline of `day`, open or closed, in order.

    From `first` on, and at most `look_back` open ones.
    """
    opened = 0
    found: list[date] = []
    for one in _back_from(spec, day):
        if one < first or opened == look_back(spec):
            break
        found.append(one)
        opened += spec.schedule.calendar.is_open(one)
    return found[::-1]


def _open_before(spec: ModelSpec, day: date) -> Iterator[date]:
    calendar = spec.schedule.calendar
    first, day = spec.schedule.first_period, calendar.previous_open(day)
    while day >= first:
        yield day
        day = calendar.previous_open(day)


def _back_from(spec: ModelSpec, day: date) -> Iterator[date]:
    first, calendar = spec.schedule.first_period, spec.schedule.calendar
    while day >= first:
        yield day
        day = calendar.previous(day)
