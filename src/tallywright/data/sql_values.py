r"""Values of every SQL type as texts that can be read back: for people in a table, for programs as JSON.

The engine itself writes each value as text, because a client has not all of its types: no Python date is infinite, and
no Arrow integer holds a HUGEINT. A text that is cast to its type again is the same value, so it can be pasted into SQL.

| type | in a table | as JSON |
|---|---|---|
| numbers | all of their digits | a number; `"nan"`, `"inf"`, `"-inf"` |
| BOOLEAN | `true` | `true` |
| DATE, TIMESTAMP, TIMESTAMPTZ | `2025-04-03`, `2025-04-03T04:00:00+00:00` | the same, in quotes |
| dates that ISO 8601 has not | `infinity`, `0044-03-15 (BC)` | the same, in quotes |
| BLOB | `\xFF` for a byte that is no letter | the same, in quotes |
| LIST, ARRAY | `[1, 2, NULL]` | an array |
| STRUCT, MAP | `{'a': 1}`, `{a=1}` | an object; an array of pairs |
| UNION | `{'member': 1}` | an object |
| null | a dash | `null` |
| others | as SQL writes them | the same, in quotes |

A text with line breaks or controls, and one that would be taken for null, is written in a table as `E'…'`.
"""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import text_literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from duckdb.sqltypes import DuckDBPyType

_WHOLE: Final = frozenset({
    "tinyint", "smallint", "integer", "bigint", "hugeint",
    "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "bignum",
})  # fmt: skip
_NUMBERS: Final = _WHOLE | {"float", "double", "decimal"}
_DATES: Final = frozenset({
    "date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone", "timestamptz_ns",
})  # fmt: skip
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_FINE: Final = re.compile(r"\.\d{7}")
NULL: Final = "–"


def is_number(kind: DuckDBPyType) -> bool:
    """True for types whose values stand on the right of a column."""
    return str(kind.id) in _NUMBERS


def cell_expression(column: str, kind: DuckDBPyType) -> str:
    """The SQL that makes a column its text for a table."""
    return f"CAST({_transformed(column, kind, _as_it_is, _named_member)} AS VARCHAR)"


def json_expression(column: str, kind: DuckDBPyType) -> str:
    """The SQL that makes a column nested texts for `json_value`."""
    return _transformed(column, kind, _text, _all_members)


def _as_it_is(value: str, _kind: DuckDBPyType) -> str:
    return value


def _text(value: str, kind: DuckDBPyType) -> str:
    # Programs have numbers of 64 bits alone: with its few own digits a FLOAT would be another one to them.
    wide = f"CAST({value} AS DOUBLE)" if kind.id == "float" else value
    return f"CAST({wide} AS VARCHAR)"


def _transformed(
    value: str,
    kind: DuckDBPyType,
    leaf: Callable[[str, DuckDBPyType], str],
    members: Callable[..., str],
    depth: int = 0,
) -> str:
    """An expression of the same shape as the value with `leaf` applied to what is not nested."""
    nested = str(kind.id)
    if leaf is _as_it_is and not _has_union(kind):
        return value
    if nested in {"list", "array"}:
        one = f"v{depth}"
        inner = _transformed(one, _children(kind)[0][1], leaf, members, depth + 1)
        return f"list_transform({value}, lambda {one}: {inner})"
    if nested == "map":
        # Two lists: inside another lambda the engine does not know the fields of an entry.
        one, (key, held) = f"v{depth}", (inner for _, inner in _children(kind))
        keys = _transformed(one, key, leaf, members, depth + 1)
        values = _transformed(one, held, leaf, members, depth + 1)
        return (
            f"struct_pack(k := list_transform(map_keys({value}), lambda {one}: {keys}), "
            f"v := list_transform(map_values({value}), lambda {one}: {values}))"
        )
    if nested in {"struct", "tuple"} and _children(kind):
        numbered = nested == "tuple" or leaf is _text  # two fields may differ in case alone
        parts = []
        for place, (name, inner) in enumerate(_children(kind)):
            held = f"struct_extract_at({value}, {place + 1})"
            field = f"f{place}" if numbered else name
            parts.append(f"{quoted(field)} := {_transformed(held, inner, leaf, members, depth + 1)}")
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"
    if nested == "union":
        return members(value, _children(kind)[1:], leaf, depth)
    return leaf(value, kind)


def _named_member(
    value: str, members: list[tuple[str, DuckDBPyType]], leaf: Callable[[str, DuckDBPyType], str], depth: int
) -> str:
    """The member that is set, with its name, as the text of a struct."""
    cases = ""
    for name, inner in members:
        held = f"union_extract({value}, {text_literal(name)})"
        shown = _transformed(held, inner, leaf, _named_member, depth + 1)
        cases += f" WHEN {text_literal(name)} THEN CAST(struct_pack({quoted(name)} := {shown}) AS VARCHAR)"
    return f"CASE CAST(union_tag({value}) AS VARCHAR){cases} END"


def _all_members(
    value: str, members: list[tuple[str, DuckDBPyType]], leaf: Callable[[str, DuckDBPyType], str], depth: int
) -> str:
    """The name of the member that is set, and each member."""
    parts = ", ".join(
        f"{quoted(f'f{place}')} := "
        f"{_transformed(f'union_extract({value}, {text_literal(name)})', inner, leaf, _all_members, depth + 1)}"
        for place, (name, inner) in enumerate(members)
    )
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack(tag := CAST(union_tag({value}) AS VARCHAR), {parts}) END"


def _children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return [(str(name), inner) for name, inner in kind.children if name != "size"]


def _has_union(kind: DuckDBPyType) -> bool:
    nested = str(kind.id)
    if nested == "union":
        return True
    return nested in {"list", "array", "struct", "tuple", "map"} and any(
        _has_union(inner) for _, inner in _children(kind)
    )


class Number(str):
    """The digits of a number, which JSON takes as they are."""

    __slots__ = ()


def json_value(value: Any, kind: DuckDBPyType) -> Any:
    """What `json_expression` gave as lists, objects, texts, numbers."""
    if value is None:
        return None
    nested = str(kind.id)
    if nested in {"list", "array"}:
        (_, inner), *_ = _children(kind)
        return [json_value(one, inner) for one in value]
    if nested == "map":
        (_, key), (_, held) = _children(kind)
        if value["k"] is None:
            return None
        return [[json_value(k, key), json_value(v, held)] for k, v in zip(value["k"], value["v"], strict=True)]
    if nested in {"struct", "tuple", "union"}:
        return _json_fields(value, kind)
    return scalar_value(str(value), kind)


def _json_fields(value: Any, kind: DuckDBPyType) -> Any:
    fields = _children(kind)
    if not fields:
        return {}
    if kind.id == "tuple":
        return [json_value(value[f"f{place}"], inner) for place, (_, inner) in enumerate(fields)]
    if kind.id == "struct":
        return {name: json_value(value[f"f{place}"], inner) for place, (name, inner) in enumerate(fields)}
    place = [name for name, _ in fields[1:]].index(value["tag"])
    return {value["tag"]: json_value(value[f"f{place}"], fields[1:][place][1])}


def scalar_value(text: str, kind: DuckDBPyType) -> bool | str:
    """A value that is not nested, from the engine's text: true or false, the digits of a number, or a text."""
    name = str(kind.id)
    if name == "boolean":
        return text == "true"
    if name in _NUMBERS and _NUMBER.fullmatch(text):
        return Number(text)
    return iso(text) if name in _DATES else text


def iso(text: str) -> str:
    """A date or an instant as ISO 8601 writes it; as SQL does, where that has no such form."""
    if _FINE.search(text):  # Python would cut the nanoseconds off
        return text
    try:
        found = datetime.fromisoformat(text) if " " in text else date.fromisoformat(text)
    except ValueError:
        return text
    return found.isoformat()


def cell(text: str | None, kind: DuckDBPyType, *, as_it_is: bool = False) -> str:
    """What a table shows of a text that `cell_expression` gave."""
    if text is None:
        return NULL
    name = str(kind.id)
    if name in _DATES:
        return iso(text)
    if name in _NUMBERS or as_it_is:
        return text
    if text == NULL or text.startswith("E'") or not text.isprintable():
        # SQL has no way to write a null character inside quotes.
        return " || chr(0) || ".join(f"E'{''.join(map(_escaped, part))}'" for part in text.split("\0"))
    return text


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter) or "".join(f"\\x{byte:02x}" for byte in letter.encode())


def to_json(value: Any) -> str:
    """JSON of lists, objects, texts and numbers with all of their digits."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {to_json(one)}" for key, one in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
