"""Keys as texts: one way to write every key, which commands print and `tally trace` reads.

A key of one column is its value, one of several is its values in the spec's order, joined by `/`. Inside a value `%`,
blanks at its ends and characters that cannot be seen (line breaks, controls) are written as in addresses (`%25`, `%20`,
`%0A`), and so is `/` where several values are joined (`%2F`). A value of another type is written as in SQL or JSON:
`-8`, `true`, `2025-04-03`, `2025-04-03T04:00:00+00:00`.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import combinations, islice, pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_SPLITS: Final = 64


def key_text(values: Sequence[Any]) -> str:
    """A key as one text.

    Examples:
        >>> key_text(["A/A", 7])
        'A%2FA/7'
    """
    return "/".join(value_text(value, joined=len(values) > 1) for value in values)


def value_text(value: Any, *, joined: bool) -> str:
    """One value of a key; with `joined`, as a part of a key of several columns."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return str(value)
    first, last = len(value) - len(value.lstrip()), len(value.rstrip())
    inside = "".join(_written(character, joined=joined) for character in value[first:last])
    text = "".join(map(_escaped, value[:first])) + inside + "".join(map(_escaped, value[max(first, last) :]))
    # a command line would take a dash at the beginning for an option
    return f"%2D{text[1:]}" if text.startswith("-") else text


def readings(text: str, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The values that a text may mean, the surest reading first.

    That is: as `key_text` writes it, as `name=value name=value` (or with `, ` between), and as if nothing in it were
    escaped. A text with more `/` than the key needs may mean several keys.

    Args:
        text: As given on a command line.
        names: The key's columns.
    """
    parts = text.split("/") if len(names) > 1 else [text]
    if len(parts) == len(names):
        yield tuple(map(_unescaped, parts))
    for between in (", ", " "):
        pattern = between.join(f"{re.escape(name)}=(.*)" for name in names)
        if named := re.fullmatch(pattern, text, re.DOTALL):
            yield tuple(map(_unescaped, named.groups()))
            yield named.groups()
    if len(parts) == len(names):
        yield tuple(parts)
    elif len(parts) > len(names):
        for ends in islice(combinations(range(1, len(parts)), len(names) - 1), _MOST_SPLITS):
            bounds = (0, *ends, len(parts))
            yield tuple("/".join(parts[low:high]) for low, high in pairwise(bounds))


def _written(character: str, *, joined: bool) -> str:
    plain = character.isprintable() and character != "%" and not (joined and character == "/")
    return character if plain else _escaped(character)


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _unescaped(text: str) -> str:
    """The text that was escaped; one that never was, and is none when it is read so, stays as it is."""
    try:
        return unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:
        return text
