"""Splits text into the records of a CSV file, exactly and by columns of positions: nothing is guessed, no line is lost.

A quote opens a field only at the field's beginning (RFC 4180); elsewhere it is a letter. Where all quotes of a block
stand at the ends of fields, a line end is the end of a record if the number of quotes before it is even: that is
counted with numpy. A block with other quotes is walked through field by field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LF: Final = 10
_CR: Final = 13


class MalformedError(Exception):
    """Text that has no records.

    Attributes:
        line: Of the file.
        problem: In words.
        behind: The byte behind the closing quote, where that is the problem.
    """

    def __init__(self, line: int, problem: str, behind: bytes = b"") -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.behind = behind


@dataclass(frozen=True, slots=True)
class Dialect:
    """What separates and what quotes fields: one byte each; no quote where texts are never quoted."""

    delimiter: bytes = b","
    quote: bytes = b'"'


@dataclass(frozen=True, slots=True)
class Records:
    """The whole records of a block.

    Attributes:
        starts: The first byte of each.
        ends: The byte behind the line end of each.
        fields: How many fields each has.
        lines: The line of the file on which each begins.
        blank: Which consist of a line end alone.
        next_line: The line of the file on which what follows begins.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    fields: NDArray[np.int64]
    lines: NDArray[np.int64]
    blank: NDArray[np.bool_]
    next_line: int

    @property
    def consumed(self) -> int:
        """How many bytes of the block are in whole records."""
        return int(self.ends[-1]) if self.ends.size else 0


def scan(data: bytes, dialect: Dialect, line: int, *, final: bool) -> Records:
    """The whole records of a block that begins with a record.

    Args:
        data: UTF-8, or another encoding in which bytes below 128 are ASCII.
        dialect: What separates and quotes.
        line: The line of the file on which the block begins.
        final: Whether the file ends with it; then its last record needs no line end.

    Raises:
        MalformedError: A quote that is never closed, or text behind a closing quote.
    """
    letters = np.frombuffer(data, np.uint8)
    breaks = _line_breaks(letters, final=final)
    ends, delimiters = breaks + 1, np.flatnonzero(letters == dialect.delimiter[0])
    if dialect.quote and dialect.quote in data:
        quotes = np.flatnonzero(letters == dialect.quote[0])
        ends = ends[(np.searchsorted(quotes, breaks) & 1) == 0]
        delimiters = delimiters[(np.searchsorted(quotes, delimiters) & 1) == 0]
        until = letters.size if final else int(ends[-1]) if ends.size else 0
        if (final and quotes.size & 1) or not _plainly_quoted(letters, quotes, until, dialect):
            return _walked(data, dialect, line, breaks, final=final)
    if final and letters.size and (not ends.size or ends[-1] < letters.size):
        ends = np.append(ends, letters.size)
    before = np.searchsorted(delimiters, ends)
    return _records(letters, breaks, ends, np.diff(before, prepend=0) + 1, line)


def _line_breaks(letters: NDArray[np.uint8], *, final: bool) -> NDArray[np.int64]:
    """The last byte of each line end: LF, CR LF, or CR alone; a CR at the end of what is not final is left open."""
    breaks = np.flatnonzero(letters == _LF)
    returns = np.flatnonzero(letters == _CR)
    if not returns.size:
        return breaks
    if not final and returns[-1] == letters.size - 1:
        returns = returns[:-1]
    behind = letters[np.minimum(returns + 1, letters.size - 1)]
    alone = returns[(behind != _LF) | (returns == letters.size - 1)]
    return np.sort(np.concatenate([breaks, alone])) if alone.size else breaks


def _plainly_quoted(letters: NDArray[np.uint8], quotes: NDArray[np.int64], until: int, dialect: Dialect) -> bool:
    """True where quotes, taken in turn, open at the beginning of a field and close at its end."""
    quotes = quotes[quotes < until]
    opening, closing = quotes[::2], quotes[1::2]
    outside = np.zeros(256, bool)
    outside[[dialect.delimiter[0], _LF, _CR, dialect.quote[0]]] = True
    before = letters[np.maximum(opening - 1, 0)]
    behind = letters[np.minimum(closing + 1, letters.size - 1)]
    opens = outside[before] | (opening == 0)
    closes = outside[behind] | (closing == letters.size - 1)
    # A quote beside a quote must be its twin: `""` within a quoted field closes and opens again.
    twin = (before == dialect.quote[0]) & (opening > 0)
    joined = np.isin(opening[twin] - 1, closing)
    return bool(opens.all() and closes.all() and joined.all())


def _records(
    letters: NDArray[np.uint8], breaks: NDArray[np.int64], ends: NDArray[np.int64], fields: NDArray[np.int64], line: int
) -> Records:
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if ends.size else ends
    size = ends - starts
    first = letters[starts] if ends.size else letters[:0]
    empty = ((size == 1) & ((first == _LF) | (first == _CR))) | ((size == 2) & (first == _CR))  # noqa: PLR2004 - CR LF
    return Records(
        starts=starts,
        ends=ends,
        fields=fields,
        lines=line + np.searchsorted(breaks, starts),
        blank=empty,
        next_line=line + int(np.searchsorted(breaks, ends[-1] if ends.size else 0)),
    )


@lru_cache
def _field_pattern(dialect: Dialect) -> re.Pattern[bytes]:
    """One field and what ends it."""
    delimiter, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    plain = b"[^" + delimiter + rb"\r\n]*+"
    if not quote:
        return re.compile(b"(" + plain + b")(" + delimiter + rb"|\r\n|\n|\r|\Z)")
    quoted = quote + b"[^" + quote + b"]*+(?:" + quote + quote + b"[^" + quote + b"]*+)*+" + quote
    unquoted = b"(?!" + quote + b")" + plain
    return re.compile(b"(" + quoted + b"|" + unquoted + b")(" + delimiter + rb"|\r\n|\n|\r|\Z)")


def _walked(data: bytes, dialect: Dialect, line: int, breaks: NDArray[np.int64], *, final: bool) -> Records:
    """As `scan`, field by field."""
    ends: list[int] = []
    fields: list[int] = []
    match = _field_pattern(dialect).scanner(data).match  # type: ignore[attr-defined]
    count, place = 1, 0
    while found := match():
        place, ended = found.end(), found[2]
        if ended == dialect.delimiter:
            count += 1
            continue
        is_open = not final and place == len(data) and ended in (b"", b"\r")
        began = ends[-1] if ends else 0
        if is_open or place == began:
            break
        ends.append(place)
        fields.append(count)
        count = 1
        if not ended:
            break
    else:
        _require_open(data, dialect, place, count, line + int(np.searchsorted(breaks, place)), final=final)
    letters = np.frombuffer(data, np.uint8)
    return _records(letters, breaks, np.array(ends, np.int64), np.array(fields, np.int64), line)


def _require_open(data: bytes, dialect: Dialect, place: int, field: int, line: int, *, final: bool) -> None:
    """Refuses a quoted field that can never end well; returns where the block only ends within it."""
    quote = dialect.quote
    end = place + 1
    while (end := data.find(quote, end)) >= 0 and data[end + 1 : end + 2] == quote:
        end += 2
    if end < 0 and not final:
        return
    if 0 <= end == len(data) - 1 and not final:
        return
    inside = data[place : end if end >= 0 else len(data)]
    if end < 0 or b"\n" in inside or b"\r" in inside:
        raise MalformedError(line, f"the quote that opens field {field} is never closed")
    raise MalformedError(line, f"field {field} goes on behind its closing quote", data[end + 1 : end + 2])


def field_texts(record: bytes, dialect: Dialect) -> list[bytes]:
    """The fields of one record, without their quotes."""
    texts = []
    for found in _field_pattern(dialect).finditer(record):
        text, quote = found[1], dialect.quote
        if quote and text.startswith(quote):
            text = text[1:-1].replace(quote + quote, quote)
        texts.append(text)
        if found[2] != dialect.delimiter:
            break
    return texts
