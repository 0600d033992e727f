"""What is refused before a row is scored: empty or suspiciously small days, and models that have seen the future."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING

from tallywright.data.delta.table import Table
from tallywright.data.etl.input_record import INPUTS
from tallywright.errors import InputError, LeakError
from tallywright.records import Role

if TYPE_CHECKING:
    from tallywright.data.delta.lake import Lake
    from tallywright.records import InputVersion, ModelRef
    from tallywright.spec.model import ModelSpec


def check_volume(lake: Lake, spec: ModelSpec, pinned: InputVersion) -> None:
    """Refuses an empty day, and one with far fewer rows than the median of the days before it.

    Raises:
        InputError: The day is empty, or below `data.min_rows_share` of the usual.
    """
    if pinned.rows == 0:
        raise InputError(
            f"{spec.name} has no input rows for {pinned.score_date}",
            expected="at least one row; a green task without rows would hide a broken source",
            remedy="check the raw files of the day and ingest it again",
        )
    earlier = _earlier_rows(lake, spec, pinned.score_date)
    if not earlier:
        return
    usual = median(earlier)
    least = spec.data.min_rows_share * usual
    if pinned.rows < least:
        raise InputError(
            f"{spec.name} has {pinned.rows} input rows for {pinned.score_date}, {pinned.rows / usual:.1%} of the usual",
            expected=f"at least {least:.0f}: {spec.data.min_rows_share:.0%} of {usual:.0f}, "
            f"the median of {len(earlier)} earlier days",
            remedy="check the raw files and ingest again; for a day that is really this small, "
            "--set data.min_rows_share=0",
        )


def leaks(ref: ModelRef, day: date) -> bool:
    """True for a model whose training data reach the date, or that does not say how far they reach."""
    return not ref.is_constant and (ref.trained_through is None or ref.trained_through >= day)


def check_leak(spec: ModelSpec, models: tuple[ModelRef, ...], day: date) -> bool:
    """Refuses a champion that has seen the day; returns whether any model has, and was let through by the spec.

    Models in other roles are not refused here: they are left out of the day (`model_set.assemble`).

    Raises:
        LeakError: `trained_through` is not before the day, or unknown, and `scoring.allow_leak` is off.
    """
    if spec.scoring.allow_leak:
        return any(leaks(ref, day) for ref in models)
    for ref in models:
        if ref.role is Role.CHAMPION and leaks(ref, day):
            raise LeakError(
                f"{leak_of(ref)} and would score {day}",
                expected="a model trained only on days before the score date",
                remedy="use `scoring.models: as-of`, or --set scoring.allow_leak=true to score and mark it",
            )
    return False


def leak_of(ref: ModelRef) -> str:
    """What a leaking model has seen, in words."""
    through = f"on data through {ref.trained_through}" if ref.trained_through else "on data of unknown dates"
    return f"version {ref.version} of {ref.name} was trained {through}"


def _earlier_rows(lake: Lake, spec: ModelSpec, day: date) -> list[int]:
    """The latest row counts of the days just before, as ingest recorded them."""
    since = day - timedelta(days=spec.data.usual_rows_days)
    latest: dict[date, tuple[int, int]] = {}
    for row in Table(INPUTS, lake, spec).rows(columns=["score_date", "version", "rows"]):
        if since <= row["score_date"] < day:
            latest[row["score_date"]] = max(latest.get(row["score_date"], (-1, 0)), (row["version"], row["rows"]))
    return [rows for _, rows in latest.values() if rows]
