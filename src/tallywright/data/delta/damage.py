"""Damaged or missing data files as errors that name the file, the date and the command that repairs it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.data.storage.store_errors import cause_of, store_remedy
from tallywright.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

_DATE: Final = re.compile(r"score_date=(\d{4}-\d{2}-\d{2})/")
_INGESTED: Final = frozenset({"features", "labels", "quarantine", "unreadable", "inputs"})
_TRUTH: Final = "promotions"
"""Its entries are made of nothing else."""
GONE: Final = "it is gone"
"""Of a file that is not there."""
MADE_ONCE: Final = frozenset({"promotions", "actions"})
"""The tables whose rows are made of nothing else."""
_LOST: Final = {
    "decisions": "earlier revisions are lost",
    "performance": "figures of younger labels are lost",
    "periods": "refusals, misses and earlier states are lost",
    "gates": "reports of days that were not scored are lost",
}
"""Of tables that are made again, what no repair brings back."""
_SCORED: Final = frozenset({"scores", "shadow"})


def is_damage(error: Exception) -> bool:
    """True when the error is about what a file holds (or that it is gone), not about reaching the storage."""
    if isinstance(error, FileNotFoundError | pa.ArrowInvalid):
        return True
    return isinstance(error, OSError) and error.errno is None and not store_remedy(error)


@contextmanager
def damage_of(uri: str, path: str) -> Iterator[None]:
    """Raises an `IntegrityError` where reading a data file inside the block shows that it is damaged or gone.

    Args:
        uri: The address of the table; its last part is the table's name.
        path: The file, relative to the table or absolute.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, MemoryError) or not is_damage(error):
            raise
        raise damaged(uri, path, words_for(error)) from error


def words_for(error: Exception) -> str:
    """What is wrong with a file that cannot be read, in a few words."""
    return GONE if isinstance(error, FileNotFoundError) else f"it cannot be read: {cause_of(error)}"


def damaged(uri: str, path: str, cause: str, day: date | str | None = None) -> IntegrityError:
    """The error about a file of a table that is not what was committed."""
    table = uri.rstrip("/").rpartition("/")[2]
    match = _DATE.search(path)
    day = day or (match[1] if match else None)
    what = f"the file {path.removeprefix(uri).lstrip('/')}" if path else "the rows"
    return IntegrityError(
        f"{table}: {what}{f' of {day}' if day else ''}: {cause}",
        expected="the files as they were committed",
        remedy=remedy_for(table, day),
    )


def remedy_for(table: str, day: date | str | None) -> str:
    """The command that writes the rows of a table again."""
    model, _, what = table.rpartition("__")
    if not model:
        return "restore the file from a backup"
    when = f"--date {day}" if day else "--from A --to B"
    if what in _INGESTED and (day or what != "inputs"):
        return f"tally ingest {model} {when}"
    if what in _SCORED:
        return f"tally score {model} {when}"
    if what == _TRUTH:
        return f"tally verify {model} --repair; what that does not bring back only a backup has"
    return f"tally verify {model} --repair"


def remedy_for_gone(table: str) -> str:
    """What brings back a table that is gone, as far as anything does but a backup."""
    return f"restore it from a backup{made_again(table, 'or, ')}"


def made_again(table: str, prefix: str) -> str:
    """What makes the rows of a table again, after a prefix, as the end of a remedy; empty where nothing does."""
    model, _, what = table.rpartition("__")
    if not model or what in MADE_ONCE:
        return ""
    repair = f"tally verify {model} --repair"
    if what in _INGESTED or what == "label_readings":
        return f"; {prefix}tally ingest {model} --from A --to B for all its dates"
    if what in _SCORED:
        return f"; {prefix}tally score {model} --from A --to B for all its dates"
    lost = _LOST.get(what, "")
    return f"; {prefix}{repair}{f' ({lost})' if lost else ''}"
