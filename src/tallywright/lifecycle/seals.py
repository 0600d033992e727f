"""The table `<model>__verified`: the last verdict, and what runs have sealed since.

A verification leaves one row, its verdict, with the seals of all tables. Until the next one each run appends a row with
the digests of the commits that came since the last seal, so that what happens to a log in between is found as well.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.data.upkeep.seal import TableSeal, newer_commits
from tallywright.errors import TallyError
from tallywright.observability import log
from tallywright.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.context import RunContext
    from tallywright.spec import ModelSpec

_SEALS: Final = TypeAdapter(dict[str, TableSeal])
_READERS: Final = 8
Seals = dict[str, TableSeal]


class VerifiedRow(Record):
    """A row of `<model>__verified`: a verdict, or what a run has sealed since."""

    model_name: str
    verified_at: datetime
    """When it was verified, or when the run had ended."""
    deep: bool
    findings: int
    findings_json: str
    """The first of them."""
    seals_json: str
    """By table, what it was when it was last found sound; of a run, the commits that it sealed."""
    run_id: str | None = None
    """The run that sealed; None for a verdict."""
    versions_json: str | None = None
    """By table, the newest version that is sealed."""

    @property
    def seals(self) -> Seals:
        """The seals by table."""
        return _SEALS.validate_json(self.seals_json)

    @property
    def versions(self) -> dict[str, int]:
        """The newest version that is sealed, by table."""
        if self.versions_json is not None:
            return dict(json.loads(self.versions_json))
        return {table: seal.version for table, seal in self.seals.items()}


VERIFIED: Final = Declaration(
    what="verified",
    record=VerifiedRow,
    key=("model_name", "verified_at"),
    slice=("model_name",),
    kind=Kind.UPDATE,
    doc="the verdict of the last verification of the whole lake, with digests of what it found sound, and the digests "
    "of the commits of each run since then",
)


def verified_rows(lake: Lake, spec: ModelSpec) -> list[VerifiedRow]:
    """The last verdict, where there was one, then what runs have sealed since, in order."""
    return _in_order(Table(VERIFIED, lake, spec).read({"model_name": spec.name}))


def _in_order(rows: Iterable[VerifiedRow]) -> list[VerifiedRow]:
    return sorted(rows, key=lambda row: (row.run_id is not None, row.verified_at))


def verdict_in(rows: Iterable[VerifiedRow]) -> VerifiedRow | None:
    """The verdict among these rows; None where the model was never verified as a whole."""
    return next((row for row in rows if row.run_id is None), None)


def seals_in(rows: Iterable[VerifiedRow]) -> Seals:
    """What is sealed by table: at the verdict, and by the runs since."""
    found: Seals = {}
    for row in _in_order(rows):
        for table, seal in row.seals.items():
            found[table] = found[table].extended(seal) if table in found else seal
    return found


def row_of(
    spec: ModelSpec,
    seals: Mapping[str, TableSeal],
    sealed_at: datetime,
    *,
    deep: bool = False,
    run_id: str | None = None,
) -> VerifiedRow:
    """A row with these seals and without findings; with `run_id`, what a run has sealed."""
    return VerifiedRow(
        model_name=spec.name,
        verified_at=sealed_at,
        deep=deep,
        findings=0,
        findings_json="[]",
        seals_json=json.dumps({table: seal.model_dump() for table, seal in seals.items()}),
        run_id=run_id,
        versions_json=json.dumps({table: seal.version for table, seal in seals.items()}),
    )


def seal_run(context: RunContext) -> int:
    """Seals the commits since the last seal, at the end of a run; a failure is said in the log and stops nothing.

    Returns:
        The number of commits that were sealed; without any, nothing is written.
    """
    try:
        return _seal(context)
    except TallyError as error:
        log.warning("what the run wrote is not sealed, the next one does it: %s", error.found)
        return 0


def _seal(context: RunContext) -> int:
    lake, spec, count = context.lake, context.spec, 0

    def sealed(rows: list[VerifiedRow]) -> list[VerifiedRow] | None:
        nonlocal count
        seals = _newer(lake, spec, rows)
        count = sum(len(seal.files) for seal in seals.values())
        return [*rows, row_of(spec, seals, context.now, run_id=context.run_id)] if seals else None

    Table(VERIFIED, lake, spec).update(sealed, {"model_name": spec.name})
    return count


def _newer(lake: Lake, spec: ModelSpec, rows: Iterable[VerifiedRow]) -> Seals:
    """The commits that are newer than what these rows seal, by table."""
    versions: dict[str, int] = {}
    for row in rows:
        for table, version in row.versions.items():
            versions[table] = max(version, versions.get(table, -1))
    tables = [table for table in lake.tables() if spec.has_table(table) and table != spec.table(VERIFIED.what)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(partial(newer_commits, lake), tables, map(versions.get, tables))
        return {table: seal for table, seal in zip(tables, found, strict=True) if seal is not None}
