"""Verifies the tables of a model one by one: logs, files, pages, and what was sealed before."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from tallywright.data.delta.log_damage import is_readable
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.upkeep.seal import TableSeal, broken, seal_of
from tallywright.data.upkeep.table_check import Problem, TableCheck
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.errors import TallyError
from tallywright.lifecycle.verify.findings import Defect, defect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tallywright.data.delta.lake import Lake

Range = tuple[date | None, date | None]


def verify_tables(
    lake: Lake, tables: Sequence[str], days: Range, sealed: Mapping[str, TableSeal]
) -> tuple[list[Defect], dict[str, TableSeal]]:
    """Checks tables, and seals those that are sound.

    Args:
        lake: Where they are.
        tables: Their names.
        days: First and last score date whose files are read, None for an open end.
        sealed: What was sealed at the last verification, and by runs since.

    Returns:
        The findings, and the seals of all tables: new ones where nothing was found.
    """
    gone, seals = sealed.keys() - {*tables}, dict(sealed)
    found = [
        defect(table, "the table is gone since it was sealed", remedy="restore it from a backup") for table in gone
    ]
    for table in tables:
        mine: list[Defect] = []
        try:
            check = TableCheck(lake, table, lake.open(table), partial(within, days=days))
            mine += [_found(table, one) for one in check.problems()]
            if table in sealed:
                mine += [defect(table, text, remedy=_accept(table)) for text in broken(check, sealed[table])]
            if not mine:
                seals[table] = seal_of(check)
        except TallyError as error:
            mine.append(Defect(what=table, problem=error.found, remedy=error.remedy))
        mine += damaged_checkpoints(lake, table)
        found += mine
    return found, seals


def _found(table: str, problem: Problem) -> Defect:
    return defect(table, problem.text, problem.day, _repair(table) if problem.in_log else "")


def _repair(table: str) -> str:
    return f"tally verify {table.rpartition('__')[0]} --repair"


def _accept(table: str) -> str:
    model = table.rpartition("__")[0]
    return f"restore it from a backup, or, where the rows are right all the same: tally verify {model} --accept"


def damaged_checkpoints(lake: Lake, table: str) -> Iterator[Defect]:
    """Yields the checkpoints of a table that cannot be read."""
    folder = TableFolder(lake.uri(table), lake.options)
    with storage_errors(f"verifying {lake.uri(table)}"):
        for path in folder.checkpoints():
            if not is_readable(path, folder.content(path)):
                yield defect(table, f"the checkpoint {path} cannot be read", remedy=_repair(table))


def within(day: date | None, days: Range) -> bool:
    """True for a date of the range, and for no date."""
    first, last = days
    return day is None or ((first is None or first <= day) and (last is None or day <= last))
