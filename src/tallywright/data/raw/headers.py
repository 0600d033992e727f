"""Headers of raw files, compared file by file: which columns a source has, and what is wrong with a file's header."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.errors import InputError, did_you_mean
from tallywright.spec.values import MOST_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tallywright.spec.sources import Source

_SHOWN: Final = 8
_LONGEST: Final = 40
OTHER_DELIMITERS: Final = (";", "\t", "|", ",")


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of one file.

    Attributes:
        file: What the file is called in messages.
        line: On which line they stand.
        columns: In their order, told apart.
        twice: The names that stand there more than once.
    """

    file: str
    line: int
    columns: tuple[str, ...]
    twice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a source.

    Attributes:
        names: Those that the relation has, in order.
        lacking: Those of them that a file lacks, by file: null in its rows.
        left_out: Those that only some files have and nobody asks for, by file.
    """

    names: tuple[str, ...]
    lacking: dict[str, tuple[str, ...]]
    left_out: dict[str, tuple[str, ...]]


def header_of(file: str, line: int, names: Sequence[str]) -> Header:
    """The header with these names; a column without one gets one by its place, and what is there twice is numbered.

    Raises:
        InputError: There are more than any source may have.
    """
    if not names:
        raise InputError(f"{file} has no columns", expected="a file with columns", remedy="deliver it again")
    if len(names) > MOST_COLUMNS:
        raise InputError(
            f"{file} line {line}: {len(names):,} columns",
            expected=f"at most {MOST_COLUMNS:,}",
            remedy="deliver fewer, or as rows of key and value",
        )
    width = len(str(max(len(names) - 1, 0)))
    named = [name or f"column{place:0{width}}" for place, name in enumerate(names)]
    taken: dict[str, int] = {}
    found = []
    for name in named:
        number = taken.get(name.lower(), 0)
        taken[name.lower()] = number + 1
        found.append(f"{name}_{number}" if number else name)
    twice = dict.fromkeys(name for name in named if taken[name.lower()] > 1)
    return Header(file, line, tuple(found), tuple(twice))


def columns_of(where: str, source: Source, headers: Sequence[Header], used: frozenset[str]) -> Columns:
    """The columns of a source, after the header of each of its files was compared with what is expected of it.

    Args:
        where: `data.sources.orders`, for messages.
        source: What the spec says.
        headers: Of the files that have one.
        used: The words of the model's queries, in lower case: a column that none of them has may come and go.

    Raises:
        InputError: A file whose header is not the expected one.
    """
    union = tuple(dict.fromkeys(name for header in headers for name in header.columns))
    told = dict.fromkeys([*source.columns, *source.types])
    common = tuple(source.columns) or _common(headers, told, used)
    for header in headers:
        if not _is_header(header, {*told, *(common if len(headers) > 1 else ())}, used):
            raise _no_header(header, source, common if common != header.columns else tuple(told))
        _require_distinct(header, source, common)
    _require_types(where, source, headers, union)
    names = source.columns or (*union, *(name for name in source.may_lack if name not in union))
    held = {header.file: frozenset(header.columns) for header in headers}
    shared = frozenset(names).intersection(*held.values())
    optional = {name for name in names if name in source.may_lack} if source.strict else set(names)
    some = dict.fromkeys(name for name in names if name not in shared and name not in optional)
    wanted = [name for name in some if name in told or name.lower() in used]
    for expected in ([name for name in wanted if name in common], wanted):
        for header in headers:
            _require_columns(header, expected, shared)
    kept = tuple(name for name in names if name not in some)
    _require_one_spelling(headers, kept)
    lacking = {file: tuple(name for name in kept if name not in columns) for file, columns in held.items()}
    left_out = {header.file: tuple(name for name in header.columns if name in some) for header in headers}
    return Columns(
        names=kept,
        lacking={file: columns for file, columns in lacking.items() if columns},
        left_out={file: columns for file, columns in left_out.items() if columns},
    )


def _require_one_spelling(headers: Sequence[Header], names: Sequence[str]) -> None:
    """Refuses names that differ by case alone: for queries they are one column."""
    spelled: dict[str, str] = {}
    for name in names:
        first = spelled.setdefault(name.lower(), name)
        if first != name:
            files = [next(header.file for header in headers if one in header.columns) for one in (name, first)]
            raise InputError(
                f"{files[0]} has a column {name}, which {files[1]} calls {first}",
                expected="files of one source with the same columns",
                remedy="ask whoever delivers the files for one spelling",
            )


def _require_types(where: str, source: Source, headers: Sequence[Header], known: Sequence[str]) -> None:
    """Refuses a type (or column) of the spec that no file has."""
    for name in [*source.columns, *source.types]:
        if name in known or name in source.may_lack:
            continue
        files = ", ".join(f"{header.file} line {header.line}" for header in headers[:3])
        raise InputError(
            f"{where}: no column {name!r}{_hint(name, known)} in {files}",
            expected=f"the columns of the file: {', '.join(known)}",
            remedy=f"correct {where}.{'columns' if name in source.columns else 'types'}, or ask whoever delivers the "
            f"file; where it may be missing: `may_lack: [{name}]`",
        )


def _common(headers: Sequence[Header], told: Collection[str], used: frozenset[str]) -> tuple[str, ...]:
    """The columns that most files have, of those most like what spec and queries name; of equals the first ones."""
    counted = Counter(header.columns for header in headers)
    return max(
        counted,
        key=lambda columns: (len(set(columns) & set(told)), _words_in(columns, used) / len(columns), counted[columns]),
    )


def _words_in(columns: Sequence[str], used: frozenset[str]) -> int:
    return sum(name[:1].isalpha() and name.lower() in used for name in columns)


def _is_header(header: Header, known: Collection[str], used: frozenset[str]) -> bool:
    """True for a line that names a known column, whatever blanks are around it, or has half its names of queries."""
    stripped = {name.strip() for name in header.columns}
    if stripped & set(known) or not known:
        return True
    return 2 * _words_in(header.columns, used) >= len(header.columns)


def _require_distinct(header: Header, source: Source, common: Sequence[str]) -> None:
    """Refuses a header that names a column twice; without `strict` the later one is numbered, as it always was."""
    if header.twice and source.strict:
        missing = [name for name in common if name not in header.columns]
        raise InputError(
            f"{header.file} line {header.line}: {shown(header.twice)} "
            f"{'stands' if len(header.twice) == 1 else 'stand'} twice in the header"
            + (f"; {shown(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""),
            expected="a header that names each column once",
            remedy="ask whoever delivers the file",
        )


def other_delimiter(
    file: str, line: int, names: Sequence[str], sign: str, source: Source, expected: int = 0
) -> InputError:
    """The refusal of a header whose names stand between other signs than the spec's."""
    between = _named(source.delimiter)
    return InputError(
        f'{file} line {line}: one field "{_cut(sign.join(names))}", expected {max(expected, len(names))} between '
        f"{between}: is the delimiter {sign!r}?",
        expected=f"fields between {between}",
        remedy=f"say so in data.sources: `delimiter: {json.dumps(sign)}`",
    )


def _named(delimiter: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(delimiter, repr(delimiter))


def _no_header(header: Header, source: Source, expected: Sequence[str]) -> InputError:
    """The refusal of a first line that is none: perhaps one with another delimiter."""
    [text, *others] = header.columns
    signs = {sign: text.count(sign) for sign in OTHER_DELIMITERS if sign in text and sign != source.delimiter}
    if signs and not others:
        sign = max(signs, key=lambda one: signs[one])
        return other_delimiter(header.file, header.line, text.split(sign), sign, source, len(expected))
    return InputError(
        f"{header.file} line {header.line}: no header: found {shown(header.columns)}; expected {shown(expected)}",
        expected="a header in each file",
        remedy="deliver the file with its header; files that have none need `header: false` and `columns`",
    )


def _require_columns(header: Header, wanted: Sequence[str], shared: Collection[str]) -> None:
    found = frozenset(header.columns)
    missing = [name for name in wanted if name not in found]
    if not missing:
        return
    others = [name for name in header.columns if name not in shared]
    hints = {name: _hint(name, others) for name in missing}
    raise InputError(
        f"{header.file} has no column {', '.join(name + hint for name, hint in hints.items())}",
        expected="files of one source with the same columns",
        remedy=f"deliver it again; where files may lack it: `may_lack: [{', '.join(missing)}]` in data.sources",
    )


def _hint(name: str, others: Sequence[str]) -> str:
    """The column of the file that may be meant."""
    plain = {_plain(other): other for other in others}
    twin = plain.get(_plain(name))
    if twin is not None:
        # Two that only look alike are told apart by their code points.
        return f" (did you mean {twin!a}?)"
    return did_you_mean(name, others)


def _plain(name: str) -> str:
    """What is left of a name without case, signs and the ways to write an accent."""
    return re.sub(r"\W", "", unicodedata.normalize("NFKC", name)).lower()


def shown(names: Sequence[str]) -> str:
    """A few names, cut."""
    listed = ", ".join(_cut(name) for name in names[:_SHOWN])
    return f"{listed}, …" if len(names) > _SHOWN else listed


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
