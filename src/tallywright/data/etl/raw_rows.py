"""What became of each raw row: by its number through the contract, counted by file.

A contract that is one plain SELECT from a source is given the number of each row behind its author's back; any other
may select `source_row` itself. The numbers are nobody's column: neither features nor labels see them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.buffers import values_of
from tallywright.data.embedded_sql import connect, text_literal
from tallywright.data.raw.relation import numbered_name
from tallywright.data.raw.typed import LINE_BITS, SOURCE_ROW
from tallywright.data.statement import with_named_parameters
from tallywright.records import RawFileRows, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from tallywright.data.etl.queries import Query
    from tallywright.data.raw.relation import RawFile

_SELECT: Final = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*select\b(?:\s+all\b)?", re.IGNORECASE | re.DOTALL)
_MOST_NAMED: Final = 200
"""Files of a source that are named in the record of a date; of more, only how many they are."""
_NAMED: Final = re.compile(rf"\b{SOURCE_ROW}\b", re.IGNORECASE)


class FileRows(Record):
    """What became of the rows of a raw file at the ingest of a date: rows = accepted + quarantined + outside.

    `outside` are rows of other dates. `undated` of the quarantined rows have no date that can be told: they count at
    each. Of a source that the contract does not select rows from (a look-up table) all readable rows are accepted.
    None: not known, because the contract neither is one plain SELECT from a source nor selects `source_row`.
    """

    source: str
    file: str
    rows: int
    accepted: int | None
    quarantined: int | None
    outside: int | None
    undated: int = 0


def names_rows(contract: str) -> bool:
    """True for a contract that speaks of `source_row` itself."""
    return bool(_NAMED.search(contract))


def numbered(query: Query, sources: Collection[str]) -> Query | None:
    """The contract with the number of each raw row as a column; None where it is no plain SELECT from a source."""
    text = _numbered_text(query.text, with_named_parameters(query.text, [*query.values])[0], sources)
    return None if text is None else replace(query, text=text)


def _numbered_text(contract: str, parsed: str, sources: Collection[str]) -> str | None:
    """As `numbered`; `parsed` is the same text, character by character, as DuckDB can parse it."""
    with connect() as connection:
        told = connection.execute(f"SELECT json_serialize_sql({text_literal(parsed)})").fetchone()
    tree: dict[str, Any] = json.loads(told[0]) if told else {"error": True}
    if tree.get("error") or len(tree["statements"]) != 1:
        return None
    node = tree["statements"][0]["node"]
    table = _plain_table(node)
    begin = _SELECT.match(contract)
    if table is None or begin is None or table["table_name"].lower() not in sources:
        return None
    name, alias = table["table_name"], table["alias"] or table["table_name"]
    text, place = contract.encode(), int(table["query_location"])
    written = next((one for one in (name.encode(), f'"{name}"'.encode()) if text[place:].startswith(one)), None)
    if written is None or place < len(contract[: begin.end()].encode()):
        return None
    relation = f'"{numbered_name(name.lower())}"' + ("" if table["alias"] else f' AS "{name}"')
    changed = text[:place] + relation.encode() + text[place + len(written) :]
    start = len(contract[: begin.end()].encode())
    column = b"" if _has_star(node, alias) else f' "{alias}".{SOURCE_ROW},'.encode()
    return (changed[:start] + column + changed[start:]).decode()


def _plain_table(node: dict[str, Any]) -> dict[str, Any] | None:
    """The first table of a SELECT whose rows are rows of it."""
    is_plain = (
        node.get("type") == "SELECT_NODE"
        and not node["cte_map"]["map"]
        and not node["group_expressions"]
        and not node["group_sets"]
        and not node["having"]
        and not any(one["type"] == "DISTINCT_MODIFIER" for one in node["modifiers"])
        and not any(one["class"] == "STAR" and one.get("columns") for one in node["select_list"])
    )
    table = node.get("from_table") or {}
    while table.get("type") == "JOIN":
        table = table["left"]
    is_table = table.get("type") == "BASE_TABLE" and not table.get("schema_name") and not table["column_name_alias"]
    return table if is_plain and is_table else None


def _has_star(node: dict[str, Any], alias: str) -> bool:
    """True where the select list has all columns of the table already."""
    stars = [one for one in node["select_list"] if one["class"] == "STAR"]
    return any(not one["relation_name"] or one["relation_name"].lower() == alias.lower() for one in stars)


def numbers_of(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """The numbers in a column, each once."""
    chunks = [values_of(chunk.drop_null()) for chunk in column.chunks]
    return np.unique(np.concatenate(chunks)) if chunks else np.zeros(0, np.int64)


def sources_in(contract: str, sources: Collection[str]) -> set[str]:
    """The sources that a contract may read: their names are words of it."""
    words = {word.lower() for word in re.findall(r"\w+", contract)}
    return {name for name in sources if name in words}


def count_rows(
    files: Sequence[RawFile],
    sources: Collection[str],
    accepted: NDArray[np.int64],
    quarantined: NDArray[np.int64],
    undated: NDArray[np.int64],
) -> tuple[FileRows, ...]:
    """What became of the rows of each file.

    Args:
        files: In the order of their numbers.
        sources: Those that the contract selects rows from.
        accepted: Numbers of rows that the date has.
        quarantined: Numbers of rows that it has in quarantine.
        undated: Numbers of rows that cannot be read and have no date.
    """
    refused = np.union1d(np.setdiff1d(quarantined, accepted, assume_unique=True), undated)
    good, bad, lost = (_by_file(numbers, len(files)) for numbers in (accepted, refused, undated))
    return tuple(
        _of_file(file, good[place], bad[place], lost[place])
        if file.source in sources
        else _of_file(file, file.rows - file.unreadable, file.unreadable, lost[place])
        for place, file in enumerate(files)
    )


def count_without_numbers(
    files: Sequence[RawFile], sources: Collection[str], accepted: int, quarantined: int
) -> tuple[FileRows, ...]:
    """What became of the rows of each file, where rows have no numbers: exact of the one file of the one source."""
    selected = [file for file in files if file.source in sources]
    found = []
    for file in files:
        if file not in selected:
            found.append(_of_file(file, file.rows - file.unreadable, file.unreadable, file.unreadable))
        elif len(selected) == 1:
            found.append(_of_file(file, accepted, quarantined + file.unreadable, file.unreadable))
        else:
            unknown = dict.fromkeys(("accepted", "quarantined", "outside"))
            found.append(FileRows(**file.model_dump(include={"source", "file", "rows"}), **unknown))
    return tuple(found)


def _by_file(numbers: NDArray[np.int64], files: int) -> list[int]:
    return [int(count) for count in np.bincount(numbers >> LINE_BITS, minlength=files)]


def _of_file(file: RawFile, accepted: int, quarantined: int, undated: int) -> FileRows:
    return FileRows(
        source=file.source,
        file=file.file,
        rows=file.rows,
        accepted=accepted,
        quarantined=quarantined,
        outside=file.rows - accepted - quarantined,
        undated=undated,
    )


def given_by(files: Iterable[FileRows], selected: Collection[str]) -> tuple[RawFileRows, ...]:
    """The raw files that have a part in a date, for its record: those with rows of it, and those that are looked up in.

    Args:
        files: What became of the rows of each file.
        selected: The sources that the contract selects rows from.
    """
    by_source: dict[str, list[RawFileRows]] = {}
    for file in files:
        whole = file.source not in selected
        quarantined = None if file.quarantined is None else file.quarantined - file.undated
        if whole or file.accepted is None or file.accepted or quarantined:
            given = RawFileRows(
                source=file.source, file=file.file, rows=file.accepted, quarantined=quarantined, whole=whole
            )
            by_source.setdefault(file.source, []).append(given)
    return tuple(one for found in by_source.values() for one in _named_or_counted(found))


def _named_or_counted(found: list[RawFileRows]) -> list[RawFileRows]:
    if len(found) <= _MOST_NAMED:
        return found
    return [RawFileRows(source=found[0].source, file="", whole=found[0].whole, files=len(found))]


def in_all(days: Iterable[Sequence[FileRows]]) -> list[FileRows]:
    """The rows of each file over several dates; outside are those of no date of them."""
    summed: dict[tuple[str, str], FileRows] = {}
    for day in days:
        for file in day:
            before = summed.get((file.source, file.file))
            summed[file.source, file.file] = file if before is None else _joined(before, file)
    return list(summed.values())


def _joined(before: FileRows, now: FileRows) -> FileRows:
    known = (before.accepted, before.quarantined, now.accepted, now.quarantined)
    if None in known or not (before.outside or now.outside):
        return now  # not known, or a look-up table, which every date has whole
    accepted = (before.accepted or 0) + (now.accepted or 0)
    quarantined = (before.quarantined or 0) + (now.quarantined or 0) - now.undated
    outside = max(0, now.rows - accepted - quarantined)
    return now.model_copy(update={"accepted": accepted, "quarantined": quarantined, "outside": outside})
