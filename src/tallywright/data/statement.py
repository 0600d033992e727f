"""What a text of SQL is, by DuckDB's own parser: one SELECT or not, which tables and functions it names.

The parser gives a statement's tree as JSON. Nothing is decided from the text itself: comments nest, strings have five
forms, and a COPY may stand inside a WITH. The connection that parses is locked already (`embedded_sql.lock`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.embedded_sql import brief, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""The nodes of a tree that only read; all others that may hold a WITH write."""
_DEEPEST: Final = 20_000
"""Levels of a tree: an expression may be 1,000 deep, each with a few levels of JSON."""
READING_FUNCTIONS: Final = frozenset({
    "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary", "histogram",
    "histogram_values", "regexp_split_to_table", "generate_subscripts",
})  # fmt: skip
"""Table functions that make rows of their arguments alone."""
_PARQUET_FUNCTIONS: Final = frozenset({"read_parquet", "parquet_scan"})


class NotOneSelectError(Exception):
    """The text is not a single SELECT; says what it is instead, and where.

    Attributes:
        found: What it is.
        line: Such as ` line 3`; empty where no line is known.
        syntax: True when it is no SQL at all.
    """

    def __init__(self, found: str, line: str = "", *, syntax: bool = False) -> None:
        super().__init__(f"{line.strip()}: {found}" if line else found)
        self.found = found
        self.line = line
        self.syntax = syntax


@dataclass(frozen=True, slots=True)
class Call:
    """A function's name where it stands in the text, and how many arguments it is given."""

    name: str
    line: int
    arguments: int = 0


@dataclass(slots=True)
class Statement:
    """A SELECT, as far as it decides what may run.

    Attributes:
        text: Without a semicolon.
        tables: Relations that are named, those of a WITH included; a schema makes no difference.
        withs: Relations that a WITH makes.
        schemas: Schemas and databases that are named with a relation.
        calls: Functions, of rows and of groups.
        table_calls: Functions in a FROM.
        words: Names without a table before them: columns, or values such as `current_date`.
        names: Every name that the text gives to a column.
        parameters: Such as `from_date` of `$from_date`.
        samples: Lines of samples that have no seed.
        shows: True when it asks what tables there are.
        stars: True when it takes all columns of something.
        hidden: Statements inside that do more than read, such as `COPY`.
    """

    text: str
    tables: set[str] = field(default_factory=set)
    withs: set[str] = field(default_factory=set)
    schemas: set[str] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    table_calls: list[Call] = field(default_factory=list)
    words: list[Call] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    parameters: list[Call] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    shows: bool = False
    stars: bool = False
    hidden: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text, by DuckDB's own rules; a position counts bytes of UTF-8."""

    start: int
    text: bytes
    kind: str

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.start + len(self.text)


def tokens(text: str) -> list[Token]:
    """The pieces of a text without its comments; each ends where the next begins, white space cut off."""
    import duckdb

    data = text.encode()
    found = [(start, str(kind).rpartition(".")[2]) for start, kind in duckdb.tokenize(text)]
    pieces = [
        Token(start, data[start:end].rstrip(), kind)
        for (start, kind), (end, _) in pairwise([*found, (len(data), "end")])
    ]
    return [piece for piece in pieces if piece.kind != "comment"]


def line_at(text: str, position: int) -> int:
    """The line of a position in bytes, from 1."""
    return text.encode()[:position].count(b"\n") + 1


def parse_select(connection: duckdb.DuckDBPyConnection, text: str) -> Statement:
    """The one SELECT of a text, a semicolon behind it left out.

    Raises:
        NotOneSelectError: It is none, more than one, or holds a statement that does more than read.
    """
    kind = statement_kind(connection, text)
    if kind != "SELECT":
        raise NotOneSelectError(f"not a query but {kind}")
    return parse_tree(connection, without_semicolon(text))


def statement_kind(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """The kind of the one statement of a text, such as `SELECT`, `EXPLAIN`, or `MULTI` of a PIVOT.

    Raises:
        NotOneSelectError: There is none, more than one, or no statement at all.
    """
    import duckdb

    try:
        text.encode()
        statements = connection.extract_statements(text)
    except UnicodeEncodeError as error:
        raise NotOneSelectError("not UTF-8") from error
    except duckdb.Error as error:
        raise NotOneSelectError(brief(error), line_of(error), syntax=True) from error
    if len(statements) != 1:
        raise NotOneSelectError("more than one statement" if statements else "not a query")
    return str(statements[0].type).rpartition(".")[2]


def without_semicolon(text: str) -> str:
    """The text with a space for each semicolon at either end; comments stay."""
    found = tokens(text)
    ends = [*_leading(found), *_leading(found[::-1])]
    data = bytearray(text.encode())
    for token in ends:
        data[token.start : token.end] = b" " * len(token.text)
    return data.decode()


def _leading(found: Sequence[Token]) -> Iterator[Token]:
    for token in found:
        if token.text.strip(b";"):
            return
        yield token


def parse_tree(connection: duckdb.DuckDBPyConnection, text: str) -> Statement:
    """What stands in the tree of a SELECT.

    Raises:
        NotOneSelectError: The engine has no tree of it, or it holds a statement that does more than read.
    """
    (reply,) = connection.execute(
        "SELECT json_serialize_sql(?, skip_null := true, skip_empty := true, skip_default := true)", [text]
    ).fetchone() or ("",)
    tree = _loaded(str(reply))
    if tree["error"]:
        line = f" line {line_at(text, int(tree['position']))}" if str(tree.get("position", "")).isdigit() else ""
        raise NotOneSelectError(str(tree["error_message"]), line, syntax=True)
    found = Statement(text)
    _walk(tree["statements"], found)
    if found.hidden:
        raise NotOneSelectError(f"{found.hidden[0]} inside a WITH")
    return found


def parquet_by_path(statement: Statement) -> list[str]:
    """What of Parquet a text reads past the names it is given: the engine is told nothing of NaN there."""
    called = {f"{call.name}()" for call in statement.table_calls if call.name in _PARQUET_FUNCTIONS}
    named = {name for name in statement.tables - statement.withs if ".parquet" in name.lower()}
    return sorted(called | named)


def _loaded(reply: str) -> Any:
    """The tree; deep ones need more levels than Python allows by itself."""
    try:
        return json.loads(reply)
    except RecursionError:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, _DEEPEST))
        try:
            return json.loads(reply)
        finally:
            sys.setrecursionlimit(before)


def _walk(tree: Any, found: Statement) -> None:
    """Looks at each node once, without recursion, in the order of the text as far as the tree has it."""
    lines = _Lines(found.text)
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION" and isinstance(node.get("function"), dict):
                function = node["function"]
                found.table_calls.append(_call(function, lines.at(node)))
                node = {name: value for name, value in node.items() if name != "function"} | {
                    "inner": function.get("arguments", function.get("children"))
                }
            _note(node, found, lines)
            waiting += [value for value in reversed(node.values()) if isinstance(value, dict | list)]
        elif isinstance(node, list):
            waiting += reversed(node)


class _Lines:
    """The lines of places in a text."""

    def __init__(self, text: str) -> None:
        self._data = text.encode()

    def at(self, node: dict[str, Any]) -> int:
        place = node.get("query_location", 0)
        return self._data[:place].count(b"\n") + 1 if place <= len(self._data) else 0


def _call(node: dict[str, Any], line: int) -> Call:
    arguments = node.get("arguments", node.get("children")) or ()
    return Call(str(node["function_name"]).lower(), line, len(arguments))


def _note(node: dict[str, Any], found: Statement, lines: _Lines) -> None:
    kind = str(node.get("type", ""))
    if (kind.endswith("_NODE") or "cte_map" in node) and kind not in _QUERIES:
        found.hidden.append(kind.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ") or "a statement")
    found.withs.update(str(made["key"]) for made in (node.get("cte_map") or {}).get("map", ()))
    if isinstance(node.get("alias"), str):
        found.names.add(node["alias"].lower())
    for name in node.get("column_name_alias") or node.get("aliases") or ():
        found.names.add(str(name).lower())
    if kind in {"BASE_TABLE", "SHOW_REF"}:
        found.shows |= kind == "SHOW_REF"
        found.tables.add(str(node.get("table_name", "")))
        found.schemas |= {str(node[part]).lower() for part in ("schema_name", "catalog_name") if node.get(part)}
    sample = node.get("sample")
    if isinstance(sample, dict) and not sample.get("repeatable"):
        found.samples.append(lines.at(node))
    _note_expression(node, found, lines)


def _note_expression(node: dict[str, Any], found: Statement, lines: _Lines) -> None:
    of_class = node.get("class")
    if of_class == "COLUMN_REF" and len(node.get("column_names", ())) == 1:
        found.words.append(Call(str(node["column_names"][0]).lower(), lines.at(node)))
    elif of_class == "STAR":
        found.stars = True
    elif of_class == "PARAMETER":
        found.parameters.append(Call(str(node.get("identifier", "?")), lines.at(node)))
    elif "function_name" in node:
        found.calls.append(_call(node, lines.at(node)))


def explained(text: str) -> tuple[str, str] | None:
    """The head and the statement of an EXPLAIN; None when the text is none."""
    pieces = tokens(without_semicolon(text))
    words = [piece.text.lower() for piece in pieces]
    if not words or words[0] != b"explain":
        return None
    place, head = 1, "EXPLAIN "
    if words[1:2] in ([b"analyze"], [b"analyse"]):
        place, head = 2, "EXPLAIN ANALYZE "
    elif words[1:2] == [b"("] and b")" in words and _is_options(words[2 : words.index(b")")]):
        place = words.index(b")") + 1
        head = "EXPLAIN (" + b" ".join(words[2 : place - 1]).decode() + ") "
    rest = text.encode()[pieces[place].start :] if place < len(pieces) else b""
    return head, without_semicolon(rest.decode())


_OPTIONS: Final = frozenset({b"analyze", b"format", b"json", b"text", b"html", b"graphviz", b"yaml", b"mermaid", b","})


def _is_options(words: Sequence[bytes]) -> bool:
    return bool(words) and set(words) <= _OPTIONS


def with_named_parameters(text: str, known: Sequence[str]) -> tuple[str, list[Call]]:
    """The text with `$name` for each `:name`, as DuckDB writes a parameter, and those that are not known.

    A colon behind an operand is no parameter: `list[1:n]`, `{'a': b}`, `a::DATE`.
    """
    data, unknown = bytearray(text.encode()), []
    before: Token | None = None
    for token, following in pairwise([*tokens(text), Token(len(data), b"", "end")]):
        if token.text == b":" and following.start == token.end and _is_name(following) and not _is_operand(before):
            name = following.text.decode()
            if name in known:
                data[token.start : token.end] = b"$"
            elif before is None or before.text != b"[":  # the end of a slice: `list[:n]`
                unknown.append(Call(f":{name}", line_at(text, token.start)))
        before = token
    return data.decode(), unknown


def _is_name(token: Token) -> bool:
    return token.kind in {"identifier", "keyword"} and token.text.decode().isidentifier()


def _is_operand(token: Token | None) -> bool:
    return token is not None and (
        token.kind in {"identifier", "numeric_const", "string_const"} or token.text in {b")", b"]", b"}"}
    )
