"""SQL templates of a model project: dates go in as typed literals, nothing else goes in at all.

The text that comes out is the same for DuckDB and Spark SQL; raw sources and `accepted` are relations by name.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# In this order: what may not be looked into (texts, quoted names, comments), casts, and only then parameters.
_TOKEN: Final = re.compile(
    r"""(?P<opaque>'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/|::)|:(?P<name>[A-Za-z_]\w*)|(?P<end>;)""",
    re.DOTALL,
)
_QUERY: Final = re.compile(r"^(select|with)\b", re.IGNORECASE)


def date_parameters(first: date, last: date, lookback_days: int) -> dict[str, date]:
    """The parameters of a range of score dates."""
    return {"from_date": first, "to_date": last, "lookback_date": first - timedelta(days=lookback_days)}


def read_query(file: Path, parameters: Mapping[str, date]) -> str:
    """The query in a file, rendered.

    Raises:
        SpecError: No such file, or not one plain query with known parameters.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{file}: {error}", expected="a readable SQL file that model.yaml names under `data`"
        ) from error
    return render(text, parameters, str(file))


def render(text: str, parameters: Mapping[str, date], where: str) -> str:
    """The query with each `:name` outside texts and comments replaced by `DATE 'YYYY-MM-DD'`.

    Args:
        text: One SELECT (or WITH … SELECT); a semicolon may end it.
        parameters: Name to date.
        where: The file, for messages.

    Raises:
        SpecError: Another statement, a second statement, or an unknown parameter.
    """
    literals = {name: _literal(name, value) for name, value in parameters.items()}
    unknown: list[str] = []
    ends: list[int] = []

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if match["end"]:
            ends.append(match.start())
        if name is None:
            return match[0]
        if name not in literals:
            unknown.append(f":{name}")
        return literals.get(name, "")

    rendered = _TOKEN.sub(replaced, text)
    if unknown:
        raise SpecError(
            f"{where}: unknown parameter {', '.join(dict.fromkeys(unknown))}",
            expected=f"one of {', '.join(f':{name}' for name in literals)}",
        )
    _require_one_query(_without_comments(text), where)
    return _without_last_semicolon(rendered) if ends else rendered


def _require_one_query(bare: str, where: str) -> None:
    statement = bare.strip().removesuffix(";").strip()
    several = any(match["end"] for match in _TOKEN.finditer(statement))
    if several or not _QUERY.match(statement):
        raise SpecError(
            f"{where}: {'more than one statement' if several else 'not a query'}",
            expected="one SELECT, or WITH … SELECT",
        )


def _without_comments(text: str) -> str:
    return _TOKEN.sub(lambda match: " " if match[0].startswith(("--", "/*")) else match[0], text)


def _without_last_semicolon(text: str) -> str:
    """The text without its one semicolon; comments behind it stay."""
    last = [match.start() for match in _TOKEN.finditer(text) if match["end"]][-1]
    return text[:last] + text[last + 1 :]


def _literal(name: str, value: date) -> str:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise SpecError(f"parameter {name} is {value!r}", expected="a date")
    return f"DATE '{value.isoformat()}'"
