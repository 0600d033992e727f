"""The condition of an expectation: which rows it is about. A small grammar of its own; nothing of it is ever executed.

```
condition  = both, {"or", both}
both       = single, {"and", single}
single     = "not", single | "(", condition, ")" | comparison
comparison = column, ("==" | "!=" | "<" | "<=" | ">" | ">="), (literal | column)
           | column, ["not"], "in", "[", literal, {",", literal}, "]"
           | column, "is", ["not"], "null"
literal    = "text" | 'text' | number | true | false
```

Dates and instants are quoted texts; an instant without a zone is UTC. `&`, `|`, `~`, `=`, `<>`, `column.isnull()`,
`column.notnull()` and `col("column")`, as pandas and Great Expectations write them, mean the same. A null equals
nothing: `!=` holds for it, every other comparison does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tallywright.data.types import sql_name
from tallywright.errors import did_you_mean
from tallywright.gates.expectations.values import NUMBERS, Columns, family_of, read_bound, read_value, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST: Final = 2_000
_DEEPEST: Final = 30
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')
        |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![A-Za-z_0-9.]))
        |(?P<null>`?[A-Za-z_][A-Za-z0-9_]*`?\.(?:isnull|isna|notnull|notna)\(\))
        |(?P<col>col\(\s*(?:"[A-Za-z_][A-Za-z0-9_]*"|'[A-Za-z_][A-Za-z0-9_]*')\s*\))
        |(?P<word>`[A-Za-z_][A-Za-z0-9_]*`|[A-Za-z_][A-Za-z0-9_]*)
        |(?P<sign>==|!=|<>|<=|>=|[=<>()\[\],&|~]))""",
    re.VERBOSE,
)
_SIGNS: Final = {"=": "==", "<>": "!=", "&": "and", "|": "or", "~": "not"}
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "null", "none", "true", "false"})
_COMPARISONS: Final[dict[str, str]] = {
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_SPOKEN: Final = {"word": "a column", "text": "a quoted text", "number": "a number"}
_EXAMPLE: Final = 'write comparisons of columns with values, such as region == "north" and weight_kg > 2'


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read.

    Attributes:
        text: As it stands in the suite.
        holds: Its mask over the rows of a table, without nulls.
    """

    text: str
    holds: Callable[[pa.Table], Any]

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows that meet it.

        Raises:
            KeyError: The table lacks a column.
        """
        return table.filter(self.holds(table))


def parse_condition(text: str, columns: Columns) -> Condition:
    """Reads a condition and checks it against the columns and their types.

    Raises:
        ValueError: It is none, names a column that is not there, or compares it with a value of another type.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a condition has at most {_LONGEST:,} characters; found {len(text):,}")
    return Condition(text, _Parser(list(_tokens(text)), columns).whole())


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> Iterator[_Token]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise ValueError(f"{shown(text[place:].lstrip()[:20])} cannot stand in a condition; {_EXAMPLE}")
        place = found.end()
        kind, own = found.lastgroup, found[found.lastgroup]
        if kind == "col":
            yield _Token("word", f"`{re.split('[' + chr(34) + chr(39) + ']', own)[1]}`")
        elif kind == "null":
            name, _, method = own.partition(".")
            yield from (_Token("word", name), _Token("is", "is"))
            if method.startswith("not"):
                yield _Token("not", "not")
            yield _Token("null", "null")
        elif kind == "word" and own.lower() in _KEYWORDS:
            yield _Token(own.lower().replace("none", "null"), own)
        else:
            sign = _SIGNS.get(own, own)
            yield _Token(sign if kind == "sign" else kind, own)


class _Parser:
    """Descends through the tokens; each method reads one rule of the grammar and gives its mask."""

    def __init__(self, tokens: list[_Token], columns: Columns) -> None:
        self._tokens, self._columns = tokens, columns
        self._place = self._depth = 0

    def whole(self) -> Callable[[pa.Table], Any]:
        found = self._either()
        if self._place < len(self._tokens):
            raise ValueError(f"{shown(self._tokens[self._place].text)} is too much; {_EXAMPLE}")
        return found

    def _peek(self) -> str:
        return self._tokens[self._place].kind if self._place < len(self._tokens) else "the end"

    def _next(self, *wanted: str) -> _Token:
        if self._peek() not in wanted:
            found = self._tokens[self._place].text if self._place < len(self._tokens) else "the end"
            needed = " or ".join(_SPOKEN.get(kind, kind) for kind in wanted)
            raise ValueError(f"found {shown(found)} where {needed} is needed; {_EXAMPLE}")
        self._place += 1
        return self._tokens[self._place - 1]

    def _takes(self, kind: str) -> bool:
        taken = self._peek() == kind
        self._place += taken
        return taken

    def _either(self) -> Callable[[pa.Table], Any]:
        masks = [self._both()]
        while self._takes("or"):
            masks.append(self._both())
        return _folded(pc.or_, masks)

    def _both(self) -> Callable[[pa.Table], Any]:
        masks = [self._single()]
        while self._takes("and"):
            masks.append(self._single())
        return _folded(pc.and_, masks)

    def _single(self) -> Callable[[pa.Table], Any]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"a condition is nested at most {_DEEPEST} deep")
        try:
            if self._takes("not"):
                inner = self._single()
                return lambda table: pc.invert(inner(table))
            if self._takes("("):
                inner = self._either()
                self._next(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Callable[[pa.Table], Any]:
        column, kind = self._column()
        if self._takes("is"):
            negated = self._takes("not")
            self._next("null")
            return lambda table: _null_mask(table[column], negated=negated)
        if self._peek() in ("not", "in"):
            negated = self._takes("not")
            self._next("in")
            return self._membership(column, kind, negated=negated)
        sign = self._next(*_COMPARISONS).kind
        if self._peek() == "word":
            return self._of_two(column, kind, sign)
        is_ordered = sign not in ("==", "!=")
        if is_ordered and kind is not None and family_of(kind) == "boolean":
            raise ValueError(f"{column} is BOOLEAN; compare it by == or !=")
        value = self._literal(column, kind, bound=is_ordered)
        compared = getattr(pc, _COMPARISONS[sign])
        return lambda table: compared(*_alike(table[column], value)).fill_null(sign == "!=")

    def _of_two(self, column: str, kind: Any, sign: str) -> Callable[[pa.Table], Any]:
        other, other_kind = self._column()
        if kind is not None and other_kind is not None:
            families = {family_of(kind), family_of(other_kind)}
            if len(families) > 1 and not families <= NUMBERS:
                raise ValueError(f"{column} is {sql_name(kind)}, {other} is {sql_name(other_kind)}: not to be compared")
        compared, is_unequal = getattr(pc, _COMPARISONS[sign]), sign == "!="
        return lambda table: compared(*_comparable(table[column], table[other])).fill_null(is_unequal)

    def _membership(self, column: str, kind: Any, *, negated: bool) -> Callable[[pa.Table], Any]:
        closing = {"[": "]", "(": ")"}[self._next("[", "(").kind]
        values = [self._literal(column, kind)]
        while self._takes(","):
            values.append(self._literal(column, kind))
        self._next(closing)

        def holds(table: pa.Table) -> Any:
            found = table[column]
            inside = pc.is_in(found, pa.array(values, found.type))  # a null is in no list
            return pc.invert(inside) if negated else inside

        return holds

    def _column(self) -> tuple[str, Any]:
        name = self._next("word").text.strip("`")
        if name not in self._columns:
            raise ValueError(f"there is no column {name!r}{did_you_mean(name, self._columns)} in data.columns")
        return name, self._columns[name]

    def _literal(self, column: str, kind: Any, *, bound: bool = False) -> Any:
        token = self._next("text", "number", "true", "false", "null")
        if token.kind == "null":
            raise ValueError(f"a null equals nothing; write {column} is null, or {column} is not null")
        value: Any = {"true": True, "false": False}.get(token.kind, token.text)
        if token.kind == "text":
            value = token.text[1:-1]
            if kind is not None and family_of(kind) in NUMBERS:
                raise ValueError(
                    f"found the text {shown(value)}, and {column} is {sql_name(kind)}: take the quotes off"
                )
        elif token.kind == "number":
            value = float(token.text) if re.search("[.eE]", token.text) else int(token.text)
        return read_bound(value, column, kind) if bound else read_value(value, column, kind)


def _folded(combine: Callable[..., Any], masks: list[Callable[[pa.Table], Any]]) -> Callable[[pa.Table], Any]:
    def holds(table: pa.Table) -> Any:
        found = masks[0](table)
        for mask in masks[1:]:
            found = combine(found, mask(table))
        return found

    return holds


def _null_mask(column: Any, *, negated: bool) -> Any:
    missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    return pc.invert(missing) if negated else missing


def _alike(column: Any, value: Any) -> tuple[Any, Any]:
    """A column and a literal in a type that holds both: a bound of whole numbers may have a fraction."""
    if isinstance(value, float) and not pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False), pa.scalar(value, pa.float64())
    return column, pa.scalar(value, column.type)


def _comparable(one: Any, other: Any) -> tuple[Any, Any]:
    if one.type == other.type:
        return one, other
    return one.cast(pa.float64(), safe=False), other.cast(pa.float64(), safe=False)
