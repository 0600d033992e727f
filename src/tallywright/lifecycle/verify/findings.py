"""What a verification found, and the table `<model>__verified` with its last verdict."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

from tallywright.data.delta.damage import remedy_for
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.upkeep.seal import TableSeal
from tallywright.records import PeriodRecord, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

_SEALS: Final = TypeAdapter(dict[str, TableSeal])
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


class VerifiedRow(Record):
    """The one row of `<model>__verified`."""

    model_name: str
    verified_at: datetime
    deep: bool
    findings: int
    findings_json: str
    """The first of them."""
    seals_json: str
    """By table, what it was when it was last found sound."""


VERIFIED: Final = Declaration(
    what="verified",
    record=VerifiedRow,
    key=("model_name",),
    slice=("model_name",),
    kind=Kind.SLICE,
    doc="the verdict of the last verification of the whole lake, and digests of what it found sound",
)


def last_verdict(lake: Lake, spec: ModelSpec) -> VerifiedRow | None:
    """The verdict of the last whole verification; None when there was none."""
    return next(iter(Table(VERIFIED, lake, spec).read({"model_name": spec.name})), None)


def seals_in(row: VerifiedRow | None) -> dict[str, TableSeal]:
    """The seals of a verdict by table."""
    return _SEALS.validate_json(row.seals_json) if row is not None else {}


def record_verdict(
    lake: Lake,
    spec: ModelSpec,
    found: Sequence[Defect],
    seals: Mapping[str, TableSeal],
    *,
    verified_at: datetime,
    deep: bool,
) -> None:
    """Writes the verdict of a whole verification.

    Raises:
        StorageError: The table cannot be written.
    """
    row = VerifiedRow(
        model_name=spec.name,
        verified_at=verified_at,
        deep=deep,
        findings=len(found),
        findings_json=json.dumps([one.model_dump(mode="json") for one in found[:_KEPT]]),
        seals_json=json.dumps({table: seal.model_dump() for table, seal in seals.items()}),
    )
    Table(VERIFIED, lake, spec).replace([row])
