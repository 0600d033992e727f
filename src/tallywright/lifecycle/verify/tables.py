"""Verifies the tables of a model one by one: logs, files, pages, and what was sealed before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from tallywright.data.delta.damage import remedy_for_gone
from tallywright.data.delta.log_damage import is_readable
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.upkeep.seal import TableSeal, broken, is_made_again, seal_of
from tallywright.data.upkeep.table_check import Problem, TableCheck
from tallywright.data.upkeep.table_folder import TableFolder
from tallywright.errors import TallyError
from tallywright.lifecycle.verify.findings import Defect, defect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tallywright.data.delta.lake import Lake

Range = tuple[date | None, date | None]


@dataclass
class Checked:
    """What the check of the tables found.

    Attributes:
        found: The findings.
        seals: The seals of all tables: new ones where nothing was found.
        anew: Tables that were sealed and are others by now, made again under their names.
    """

    found: list[Defect]
    seals: dict[str, TableSeal]
    anew: list[str]


def verify_tables(lake: Lake, tables: Sequence[str], days: Range, sealed: Mapping[str, TableSeal]) -> Checked:
    """Checks tables, and seals those that are sound.

    Args:
        lake: Where they are.
        tables: Their names.
        days: First and last score date whose files are read, None for an open end.
        sealed: What was sealed at the last verification, and by runs since.
    """
    gone = sorted(sealed.keys() - {*tables})
    found = [defect(table, "the table is gone since it was sealed", remedy=remedy_for_gone(table)) for table in gone]
    checked = Checked(found, dict(sealed), [])
    for table in tables:
        mine: list[Defect] = []
        try:
            check = TableCheck(lake, table, lake.open(table), partial(within, days=days))
            mine += [_found(table, one) for one in check.problems()]
            if table in sealed and is_made_again(check, sealed[table]):
                checked.anew.append(table)
            elif table in sealed:
                mine += [defect(table, text, remedy=_accept(table)) for text in broken(check, sealed[table])]
            if not mine:
                checked.seals[table] = seal_of(check)
        except TallyError as error:
            mine.append(Defect(what=table, problem=error.found, remedy=error.remedy))
        mine += damaged_checkpoints(lake, table)
        found += mine
    return checked


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
        if folder.hints_at_nothing():
            yield defect(table, "its _last_checkpoint names a checkpoint that is not there", remedy=_repair(table))
        for path in folder.checkpoints():
            if not is_readable(path, folder.content(path)):
                yield defect(table, f"the checkpoint {path} cannot be read", remedy=_repair(table))


def within(day: date | None, days: Range) -> bool:
    """True for a date of the range, and for no date."""
    first, last = days
    return day is None or ((first is None or first <= day) and (last is None or day <= last))
