"""A source as engines read it: Parquet files, the columns of the spec, and a number for each raw row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallywright.data.raw.typed import (
    LINE_BITS,
    SOURCE_ROW,
    file_column,
    number_column,
    raw_row_column,
    reason_column,
)
from tallywright.records import Record

if TYPE_CHECKING:
    from pathlib import Path


class RawFile(Record):
    """One raw file: its source, what it is called, its rows, and how many of these cannot be read."""

    source: str
    file: str
    rows: int
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Relation:
    """The rows of one source.

    Attributes:
        paths: Parquet files: the source's own, or the one in which its CSV files are staged.
        columns: That queries see, but for those of folders.
        number: The column of a staged file that numbers its rows; empty where the row's place in its file does.
        first_file: The number of the source's first file among those of all sources.
        unreadable: How many rows queries must not see, because a cell of them has no value of its type.
        keys: By file, the values of the columns that folders named `key=value` give.
    """

    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    number: str
    first_file: int
    unreadable: int = 0
    keys: tuple[dict[str, str | None], ...] = ()

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that folders give."""
        return tuple(self.keys[0]) if self.keys else ()

    @property
    def has_own_numbers(self) -> bool:
        """True where files or folders have a column of a name that the numbers of rows come by."""
        taken = {SOURCE_ROW} if self.number else {SOURCE_ROW, "file_index", "file_row_number"}
        of_files = any(name.lower() in taken for name in self.columns)
        return of_files or any(name.lower() == SOURCE_ROW for name in self.key_columns)

    @property
    def numbered_as(self) -> str:
        """What the numbers are called that the rows have among those of all sources."""
        return number_column((*self.columns, *self.key_columns))

    @property
    def file_as(self) -> str:
        """What the path of a row's file is called where folders give columns."""
        return file_column((*self.columns, *self.key_columns))

    @property
    def reason(self) -> str:
        """The column of a staged file that says why a row cannot be read."""
        return reason_column(self.columns)

    @property
    def raw_row(self) -> str:
        """The column of a staged file with the cells of such a row."""
        return raw_row_column(self.columns)

    @property
    def offset(self) -> int:
        """What is added to the numbers of the source's own files and lines, so that they are those of all sources."""
        return self.first_file << LINE_BITS


def numbered_name(source: str) -> str:
    """The relation that has the numbers of a source's rows besides; no source can have this name."""
    return f"_numbered_{source}"
