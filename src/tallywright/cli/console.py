"""Command line output: tables for people, JSON for programs, from the same rows."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import click

from tallywright.redaction import visible

if TYPE_CHECKING:
    from tallywright.errors import TallyError

_WHOLE_FROM: Final = 10_000
"""Four digits of a larger number would need an exponent."""
_READABLE: Final = 1e15
"""A number of this size or more has one all the same: nobody counts so many digits."""


def show_rows(  # noqa: PLR0913 - what a table may look like
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    title: str = "",
    empty: str = "nothing",
    whole: Collection[str] | None = None,
    own_names: bool = False,
    numbers: Collection[str] = (),
) -> None:
    """Prints rows that share their keys, as a table or as a JSON array.

    No cell is cut: in a terminal, and where `COLUMNS` is set, long texts are wrapped and the last columns stand below
    their row if need be; a pipe has no width. A column that is empty in every row is left out of a table.

    Args:
        rows: What to print.
        as_json: JSON instead of a table.
        title: Stands above the table.
        empty: Printed instead of a table without rows.
        whole: Columns whose cells are printed so that they can be pasted: never wrapped. Given, also without names, the
            rows are data: whole numbers and instants are printed as they are, and empty columns too.
        own_names: The names of the columns are printed as they are, too.
        numbers: Columns whose texts are numbers.
    """
    if as_json:
        click.echo(to_json([dict(row) for row in rows]))
        return
    if not rows:
        click.echo(empty)
        return
    from tallywright.cli.table import Column, table_lines

    show = cell_text if whole is None else _plain_cell
    names = [name for name in rows[0] if whole is not None or any(not _is_empty(row[name]) for row in rows)]
    columns = [
        Column(
            name=str(name) if own_names else str(name).replace("_", " "),
            cells=tuple(visible(show(row[name])) for row in rows),
            right=name in numbers or _are_numbers([row[name] for row in rows]),
            whole=name in (whole or ()),
        )
        for name in names or rows[0]
    ]
    if title:
        click.echo(title)
    for line in table_lines(columns, _width()):
        click.echo(line)


def _width() -> int | None:
    """What a line may hold; None in a pipe: a table that is folded is of no use in a log."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _are_numbers(values: Sequence[Any]) -> bool:
    """True for a column of numbers, which stand on the right."""
    found = [value for value in values if value is not None]
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def show_record(record: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Prints one mapping, nested ones indented, as lines or as a JSON object."""
    if as_json:
        click.echo(to_json(dict(record)))
        return
    if title:
        click.echo(title)
    _show_nested(record, indent=2 if title else 0)


def error_fields(error: TallyError) -> dict[str, str | int | bool]:
    """An error for programs."""
    return {"type": error.known_as, "found": error.found, "expected": error.expected,
            "remedy": error.remedy, "exit_code": error.exit_code, "retryable": error.retryable}  # fmt: skip


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
                click.echo(" " * (indent + 2) + "  ".join(_part(name, part) for name, part in item.items()))
        else:
            click.echo(f"{label} {cell_text(value)}")


def _part(name: str, value: Any) -> str:
    """A value in a line of several; yes or no is said by the name, as nothing else tells what it is about."""
    return f"{'' if value else 'not '}{name.replace('_', ' ')}" if isinstance(value, bool) else cell_text(value)


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
