"""What a verification found, and how its verdict is recorded in `<model>__verified`."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.damage import remedy_for
from tallywright.data.delta.table import Table
from tallywright.lifecycle.seals import VERIFIED
from tallywright.records import PeriodRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.seals import VerifiedRow
    from tallywright.spec import ModelSpec

_KEPT: Final = 50


class Defect(PeriodRecord):
    """One thing that is not what was committed, and the command that repairs it."""

    what: str
    """The table, or `packages`, `registry`, `records`."""
    score_date: date | None = None
    problem: str
    remedy: str


def defect(table: str, problem: str, day: date | None = None, remedy: str = "") -> Defect:
    """A defect of a table, with the remedy that its kind of table has."""
    return Defect(what=table, score_date=day, problem=problem, remedy=remedy or remedy_for(table, day))


def record_verdict(
    lake: Lake, spec: ModelSpec, found: Sequence[Defect], verdict: VerifiedRow, *, known: Sequence[VerifiedRow]
) -> None:
    """Writes what a whole verification found, in the place of the rows that were `known` when it began.

    Args:
        lake: Where it is written.
        spec: Whose verdict.
        found: The findings.
        verdict: The row with the seals, made by `row_of`.
        known: What runs have sealed while it was verified stays beside the verdict.

    Raises:
        StorageError: The table cannot be written.
    """
    told = json.dumps([one.model_dump(mode="json") for one in found[:_KEPT]])
    row = verdict.model_copy(update={"findings": len(found), "findings_json": told})
    before = {one.verified_at for one in known}
    Table(VERIFIED, lake, spec).update(
        lambda rows: [row, *(one for one in rows if one.run_id is not None and one.verified_at not in before)],
        {"model_name": spec.name},
    )
