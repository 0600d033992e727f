"""Command line output: tables for people, JSON for programs, from the same rows."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import click

_LONGEST_NAME: Final = 24
_WHOLE_FROM: Final = 10_000
"""Four digits of a larger number would need an exponent."""
_READABLE: Final = 1e15
"""A number of this size or more has one all the same: nobody counts so many digits."""


def show_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    title: str = "",
    empty: str = "nothing",
    whole: Collection[str] | None = None,
) -> None:
    """Prints rows that share their keys, as a table or as a JSON array.

    Args:
        rows: What to print.
        as_json: JSON instead of a table.
        title: Stands above the table.
        empty: Printed instead of a table without rows.
        whole: Columns whose cells are printed so that they can be pasted: never wrapped nor cut. Given, also without
            names, whole numbers and instants of all columns are printed as they are.
    """
    if as_json:
        click.echo(to_json([dict(row) for row in rows]))
        return
    if not rows:
        click.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A plain string would be read as markup: `tallywright[spark]` would lose its brackets.
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        wrapped = name not in (whole or ()) and _is_prose(rows, name)
        table.add_column(Text(name.replace("_", " ")), justify="right" if number else "left", no_wrap=not wrapped)
    show = cell_text if whole is None else _plain_cell
    for row in rows:
        table.add_row(*(Text(show(value)) for value in row.values()))
    console = Console(highlight=False)
    # A pipe has no width; a table that is folded for 80 columns is of no use in a log.
    console.width = max(console.width, 80 if console.is_terminal else 180, _needed(rows, whole or ()))
    console.print(table, soft_wrap=bool(whole))


def _needed(rows: Sequence[Mapping[str, Any]], whole: Collection[str]) -> int:
    """The least width of the terminal at which no cell of these columns is cut; 0 without such columns."""
    from rich.cells import cell_len

    if not any(name in whole for name in rows[0]):
        return 0
    widest = {name: max(len(name), *(cell_len(_plain_cell(row[name])) for row in rows)) for name in rows[0]}
    return sum(width if name in whole else min(width, _LONGEST_NAME) for name, width in widest.items()) + 4 * len(
        widest
    )


def _is_prose(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """True for a column of sentences, which may be wrapped; numbers, dates and names may not."""
    return any(len(cell_text(row[name])) > _LONGEST_NAME for row in rows)


def show_record(record: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Prints one mapping, nested ones indented, as lines or as a JSON object."""
    if as_json:
        click.echo(to_json(dict(record)))
        return
    if title:
        click.echo(title)
    _show_nested(record, indent=2 if title else 0)


def to_json(value: Any) -> str:
    """JSON with dates in ISO form and non-finite numbers as null."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _show_nested(record: Mapping[str, Any], *, indent: int) -> None:
    width = max((len(str(key)) for key in record), default=0) + 1
    for key, value in record.items():
        label = f"{' ' * indent}{str(key).replace('_', ' '):<{width}}"
        if isinstance(value, Mapping):
            click.echo(label.rstrip())
            _show_nested(value, indent=indent + 2)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            click.echo(label.rstrip())
            for item in value:
                click.echo(" " * (indent + 2) + "  ".join(cell_text(part) for part in item.values()))
        else:
            click.echo(f"{label} {cell_text(value)}")


def cell_text(value: Any) -> str:
    """A value as a cell of a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if _WHOLE_FROM <= abs(value) < _READABLE else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(item) for item in value)
    return str(value)


def _plain_cell(value: Any) -> str:
    """As `cell_text`, with whole numbers and instants as they are."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int) else cell_text(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # SQL sums of integers come as decimals
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
