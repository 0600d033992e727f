"""Verifies everything that is stored of a model, and records the verdict of a whole verification."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.lifecycle.seals import row_of, seals_in, verified_rows
from tallywright.lifecycle.small_tables import model_tables
from tallywright.lifecycle.verify.findings import Defect, record_verdict
from tallywright.lifecycle.verify.made_again import verify_made_again
from tallywright.lifecycle.verify.records import (
    ingested_days,
    verify_aliases,
    verify_inputs,
    verify_labels,
    verify_packages,
    verify_promotions,
    verify_tallies,
)
from tallywright.lifecycle.verify.tables import verify_tables, within
from tallywright.observability import log
from tallywright.scoring.commit.manifests import latest_tallies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.seals import Seals, VerifiedRow
    from tallywright.lifecycle.verify.tables import Checked, Range
    from tallywright.spec import Project


def verify_model(
    project: Project,
    lake: Lake,
    *,
    now: datetime,
    days: Range = (None, None),
    deep: bool = False,
) -> list[Defect]:
    """Verifies tables and records of a model; nothing is changed but the verdict, where no range is given.

    Args:
        project: The model project.
        lake: Where its tables are.
        now: The wall clock of the verdict.
        days: The first and the last score date that are looked at; None for an open end.
        deep: Compare contents too, take packages from the registry, and compare its aliases with the log.

    Returns:
        What was found, the tables first; nothing when all stands.
    """
    spec = project.spec
    tables = [table for table in model_tables(spec, lake) if table != spec.table("verified")]
    known = _known(project, lake)
    sealed = seals_in(known)
    checked = verify_tables(lake, tables, days, sealed)
    found = checked.found + list(_guarded(_records(project, lake, days, deep=deep)))
    found = _once(found + list(_guarded(verify_made_again(lake, spec, checked.anew))))
    seals = checked.seals | _say_again(checked, sealed, found)
    if days == (None, None):
        try:
            record_verdict(lake, spec, found, row_of(spec, seals, now, deep=deep), known=known)
        except TallyError as error:
            log.warning("the verdict was not recorded: %s", error)
    return found


def _say_again(checked: Checked, sealed: Seals, found: list[Defect]) -> Seals:
    """Says which tables were made again; the seals of those about which something was found stay the old ones."""
    wrong = {one.what for one in found}
    for table in checked.anew:
        told = "something is missing" if table in wrong else "it holds what it is made of, and is sealed anew"
        log.warning("%s was made again since it was sealed, as another table: %s", table, told)
    return {table: sealed[table] for table in checked.anew if table in wrong}


def _known(project: Project, lake: Lake) -> list[VerifiedRow]:
    try:
        return verified_rows(lake, project.spec)
    except TallyError as error:
        log.warning("the last verdict and what was sealed since cannot be read: %s", error)
        return []


def _records(project: Project, lake: Lake, days: Range, *, deep: bool) -> Iterator[Defect]:
    spec = project.spec
    dates = [day for day in ingested_days(lake, spec) if within(day, days)]
    yield from verify_inputs(lake, spec, dates, deep=deep)
    yield from verify_labels(lake, spec, partial(within, days=days), deep=deep)
    tallies = [tally for tally in latest_tallies(lake, spec) if within(tally.manifest.score_date, days)]
    yield from verify_tallies(lake, spec, tallies, deep=deep)
    yield from verify_promotions(lake, spec, tallies)
    yield from verify_packages(project, tallies, deep=deep)
    if deep:
        yield from verify_aliases(project, lake)


def _guarded(findings: Iterator[Defect]) -> Iterator[Defect]:
    """The findings; what keeps the checks from going on is one of them."""
    try:
        yield from findings
    except TallyError as error:
        yield Defect(what="records", problem=error.found, remedy=error.remedy)


def _once(found: list[Defect]) -> list[Defect]:
    """The findings, one of each table and date (or, without a date, each text)."""
    kept: dict[tuple[str, object], Defect] = {}
    of_tables = {one.problem for one in found if one.what != "records"}
    for one in found:
        if one.what == "records" and one.problem in of_tables:
            continue  # the records cannot be read for what was found of the table
        kept.setdefault((one.what, one.score_date or one.problem), one)
    return list(kept.values())
