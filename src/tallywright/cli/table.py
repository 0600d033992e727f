"""The layout of a table for people: nothing is cut; what has no room beside the other columns stands below its row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
_LONGEST_NAME: Final = 24
"""A longer cell is prose, which may be wrapped; numbers, dates and names may not. Also the least room for prose."""
_LONGEST_WORD: Final = 40
_INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its cells as texts, empty ones included."""

    name: str
    cells: tuple[str, ...]
    right: bool = False
    whole: bool = False
    """Never wrapped: it can be pasted."""
    width: int = 0

    @property
    def natural(self) -> int:
        """The width at which nothing is wrapped."""
        return max(cell_len(line) for text in (self.name, *self.cells) for line in text.splitlines() or [""])

    @property
    def is_prose(self) -> bool:
        """True for a column of sentences."""
        return not self.whole and any(cell_len(cell) > _LONGEST_NAME for cell in self.cells)

    @property
    def least(self) -> int:
        """The least width: only prose and names of columns are wrapped, and only between words."""
        if self.is_prose:
            word = max((cell_len(word) for cell in self.cells for word in cell.split()), default=0)
            return min(self.natural, max(_LONGEST_NAME, min(word, _LONGEST_WORD)))
        words = max(cell_len(word) for word in self.name.split() or [""])
        return max(words, *(cell_len(line) for cell in self.cells for line in cell.splitlines() or [""]))


def table_lines(columns: Sequence[Column], width: int | None) -> list[str]:
    """The lines of a table: names, a rule, and each row with what stands below it.

    Args:
        columns: With as many cells each; the order also says which stay: the last ones go below a row first, and prose
            before others.
        width: What a line may hold; None is no limit.
    """
    beside, below = _placed(columns, width)
    names = [_cell_lines(column.name, column.width) for column in beside]
    height = max(len(lines) for lines in names)
    head = _joined(beside, [[""] * (height - len(lines)) + lines for lines in names])
    rule = "─" * (sum(column.width for column in beside) + len(_GAP) * (len(beside) - 1))
    shown = [*(click.style(line, bold=True) for line in head), rule]
    for number in range(len(columns[0].cells)):
        shown += _joined(beside, [_cell_lines(column.cells[number], column.width) for column in beside])
        shown += _below([(column, column.cells[number]) for column in below], width)
    return shown


def _placed(columns: Sequence[Column], width: int | None) -> tuple[list[Column], list[Column]]:
    """The columns beside one another, with their widths, and those below a row."""
    natural = [replace(column, width=column.natural) for column in columns]
    if width is None or _total(natural) <= width:
        return natural, []
    least = [replace(column, width=column.least) for column in columns]
    places = list(range(len(least)))
    while _total([least[place] for place in places]) > width and len(places) > 1:
        places.remove(next((place for place in reversed(places[1:]) if least[place].is_prose), places[-1]))
    beside = [least[place] for place in places]
    room = width - _total(beside)
    prose = sorted((column.natural - column.width, place) for place, column in enumerate(beside) if column.is_prose)
    for count, (wanted, place) in enumerate(prose):
        more = max(0, min(wanted, room // (len(prose) - count)))
        beside[place] = replace(beside[place], width=beside[place].width + more)
        room -= more
    return beside, [column for place, column in enumerate(least) if place not in places]


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _cell_lines(text: str, width: int) -> list[str]:
    """A cell's lines; a word that is longer than a line goes on in the next one."""
    # A plain string would be read as markup: `tallywright[spark]` would lose its brackets.
    shown = Text(text)
    lines = shown.plain.splitlines() or [""]
    if all(cell_len(line) <= width for line in lines):
        return lines
    wrapped = shown.wrap(Console(width=max(width, 1)), max(width, 1), overflow="fold")
    return [line.plain.rstrip() for line in wrapped] or [""]


def _joined(columns: Sequence[Column], cells: Sequence[list[str]]) -> list[str]:
    height = max(len(lines) for lines in cells)
    return [
        _GAP.join(
            _padded(lines[row] if row < len(lines) else "", column)
            for column, lines in zip(columns, cells, strict=True)
        ).rstrip()
        for row in range(height)
    ]


def _padded(text: str, column: Column) -> str:
    space = " " * (column.width - cell_len(text))
    return space + text if column.right else text + space


def _below(cells: Sequence[tuple[Column, str]], width: int | None) -> list[str]:
    """`name: value` of each cell that says something, as many in a line as it holds."""
    room = max((width or 0) - len(_INDENT), _LONGEST_NAME)
    lines: list[str] = []
    open_line = False  # nothing follows the last line of a wrapped text
    for column, text in cells:
        if text in {"", "–"}:
            continue
        item = f"{column.name}: {text}"
        if open_line and cell_len(lines[-1]) + 3 + cell_len(item) <= room:
            lines[-1] += f"   {item}"
        else:
            added = [item] if column.whole else _cell_lines(item, room)
            open_line = len(added) == 1
            lines += added
    return [_INDENT + line for line in lines]
