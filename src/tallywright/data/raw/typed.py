"""Texts of raw rows as values of their declared types; a cell that has no value makes its row unreadable, and no other.

An unreadable row stays in the staged file with its reason and its cells as they were delivered; what could be read of
it is kept, so that the contract can still say to which score date it belongs.
"""

# ruff: noqa: S608 - columns cannot be parameters; names are quoted, texts are literals

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array, string_array
from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import text_literal
from tallywright.data.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

SOURCE_ROW: Final = "source_row"
"""The column that numbers the rows of all files: the file's number, and 40 bits for the line."""
_REASON: Final = "__unreadable"
_RAW_ROW: Final = "__raw_row"
_FILE: Final = "__file"
LINE_BITS: Final = 40
_LONGEST: Final = 60
_CHANGES: Final = "its value would change"
_CUT: Final = "more than its date would be lost"
_ELSEWHERE: Final = "it is of another zone than UTC, endless, or more than an instant"
_WHOLE: Final = "[-+]?[0-9][0-9_]*([.]0*)?|0[xX][0-9a-fA-F_]+|0[bB][01_]+"
_POWER: Final = "[-+]?[0-9]+([.][0-9]*)?[eE][+]?[0-9]+"
_EXACT: Final = 1 << 53
"""Whole numbers below it are DOUBLEs."""
_DAY: Final = "[0-9]{1,6}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_TIME: Final = "([T ]+[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]*)?)?)?"
_UTC: Final = " *(Z|UTC|[-+]00(:?00)?)?"
_INTEGERS: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT"})
_FLOATS: Final = frozenset({"FLOAT", "REAL", "DOUBLE"})


def number_column(columns: Sequence[str]) -> str:
    """What the numbers of a source's rows are called beside its columns, which may have any names."""
    return _free(SOURCE_ROW, columns)


def reason_column(columns: Sequence[str]) -> str:
    """What says in a staged file why a row cannot be read; null where it can."""
    return _free(_REASON, columns)


def raw_row_column(columns: Sequence[str]) -> str:
    """What holds in a staged file the cells of a row that cannot be read, as they were delivered."""
    return _free(_RAW_ROW, columns)


def file_column(columns: Sequence[str]) -> str:
    """What the file of a row is called beside the columns of a source, where an engine reads its own files."""
    return _free(_FILE, columns)


def _free(name: str, columns: Sequence[str]) -> str:
    """A name of ours that no column of the files has: these keep theirs."""
    taken = {column.lower() for column in columns}
    while name in taken:
        name = f"__{name}"
    return name


def require_types(types: Mapping[str, str], where: str) -> None:
    """Refuses what is no plain type name.

    Raises:
        SpecError: A type that is not known.
    """
    for column, declared in types.items():
        arrow_type(declared, f"{where}.types.{column}")


class Typing:
    """Gives blocks of texts their types.

    Args:
        connection: Casts as the queries do.
        columns: Of the source, in order.
        types: The declared ones; others stay texts.
        strict: Whether a text that a cast would change, such as 1.5 to an INTEGER, is none of its type.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: Sequence[str],
        types: Mapping[str, str],
        *,
        strict: bool = False,
    ) -> None:
        self._connection, self._columns, self._strict = connection, columns, strict
        self.number, self.reason = number_column(columns), reason_column(columns)
        self.raw_row = raw_row_column(columns)
        self._casts = {name: declared for name, declared in types.items() if name in columns}
        self._query = self._made()
        empty = pa.Table.from_batches([], pa.schema([(name, pa.string()) for name in columns]))
        self.schema: pa.Schema = self.table(empty, number_array(np.zeros(0, np.int64), pa.int64())).schema

    def table(self, texts: pa.Table, numbers: pa.Array) -> pa.Table:
        """The rows with their types and numbers, and with the reason of each that cannot be read."""
        block = texts.append_column(self.number, numbers)
        if not self._casts:
            nothing = pa.nulls(block.num_rows, pa.string())
            return block.append_column(self.reason, nothing).append_column(self.raw_row, nothing)
        self._connection.register("block", block)
        try:
            return self._connection.sql(self._query).to_arrow_table()
        finally:
            self._connection.unregister("block")

    def unreadable(self, numbers: pa.Array, reasons: Sequence[str], raw_rows: Sequence[str]) -> pa.Table:
        """Rows of which nothing could be read."""
        count = len(reasons)
        columns = [pa.nulls(count, self.schema.field(name).type) for name in self._columns]
        texts = [string_array(values).cast(pa.string()) for values in (reasons, raw_rows)]
        return pa.table([*columns, numbers, *texts], schema=self.schema)

    def _made(self) -> str:
        bad = {name: f"({quoted(name)} IS NOT NULL AND {self._cast(name)} IS NULL)" for name in self._casts}
        values = [f"{self._cast(name)} AS {quoted(name)}" for name in self._columns]
        if not bad:
            return ""
        told = ", ".join(f"CASE WHEN {wrong} THEN {self._told(name)} END" for name, wrong in bad.items())
        raw = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in self._columns)
        is_bad = " OR ".join(bad.values())
        added = {
            self.number: quoted(self.number),
            self.reason: f"CASE WHEN {is_bad} THEN concat_ws('; ', {told}) END",
            self.raw_row: f"CASE WHEN {is_bad} THEN CAST(to_json(struct_pack({raw})) AS VARCHAR) END",
        }
        values += [f"{value} AS {quoted(name)}" for name, value in added.items()]
        return f"SELECT {', '.join(values)} FROM block"

    def _cast(self, name: str) -> str:
        declared = self._casts.get(name)
        if declared is None:
            return quoted(name)
        cast = f"TRY_CAST({quoted(name)} AS {declared})"
        lost, _ = self._lost(name)
        return f"CASE WHEN {cast} IS NOT NULL AND NOT ({lost}) THEN {cast} END" if lost else cast

    def _lost(self, name: str) -> tuple[str, str]:
        """SQL that is true of a cell that a cast would change, and how; empty where none is."""
        return lost_by(quoted(name), self._casts[name].strip().upper()) if self._strict else ("", "")

    def _told(self, name: str) -> str:
        """SQL for the reason: `weight_kg: 'n/a' is not a DOUBLE`."""
        declared = self._casts[name].strip().upper()
        article = "an" if declared[0] in "AEIOU" else "a"
        column, cell = text_literal(f"{name}: "), quoted(name)
        cut = f"CASE WHEN length({cell}) > {_LONGEST} THEN left({cell}, {_LONGEST}) || '…' ELSE {cell} END"
        lost, how = self._lost(name)
        hints = _comma(cell, declared)
        if lost:
            hints += f"WHEN TRY_CAST({cell} AS {declared}) IS NOT NULL THEN {text_literal(f': {how}')} "
        why = f"CASE {hints}ELSE '' END" if hints else "''"
        return f"concat({column}, '''', {cut}, '''', {text_literal(f' is not {article} {declared}')}, {why})"


def _comma(cell: str, declared: str) -> str:
    """SQL of a hint, for a type that has fractions, at a number that is written with a decimal comma."""
    if declared not in _FLOATS and not declared.startswith("DECIMAL"):
        return ""
    hint = text_literal(": a decimal comma?")
    return f"WHEN regexp_full_match(trim({cell}), '[-+]?[0-9][0-9.]*,[0-9]+') THEN {hint} "


def lost_by(cell: str, declared: str) -> tuple[str, str]:
    """SQL that is true of a text that a cast to a type would change, and how it would; empty where none is.

    It goes by the form of the text: casts drop words behind a time, and compute in DOUBLE. A DECIMAL is rounded to its
    digits, a FLOAT or DOUBLE to the nearest of its numbers, and an instant ends at the microsecond: these types say so.
    """
    cast, text = f"TRY_CAST({cell} AS {declared})", f"trim({cell})"
    if declared in _INTEGERS:
        # `1e3` is a whole number too, as long as a DOUBLE has all of its digits.
        exact = f"regexp_full_match({text}, '{_POWER}') AND CAST({cast} AS DOUBLE) = TRY_CAST({cell} AS DOUBLE)"
        return f"NOT (regexp_full_match({text}, '{_WHOLE}') OR ({exact} AND abs({cast}) < {_EXACT}))", _CHANGES
    if declared in _FLOATS:
        infinite = f"isinf({cast}) AND NOT contains(lower({cell}), 'inf')"
        return f"({infinite}) OR ({cast} = 0 AND regexp_matches({cell}, '^[^eE]*[1-9]'))", _CHANGES
    if declared == "DATE":
        return f"NOT regexp_full_match({text}, '{_DAY}([T ]+0?0:00(:00([.]0*)?)?)?{_UTC}')", _CUT
    if declared == "TIMESTAMP":
        return f"NOT regexp_full_match({text}, '{_DAY}{_TIME}{_UTC}')", _ELSEWHERE
    return "", ""
