"""Stages the CSV files of a source as one Parquet file: every line of them accounted for, every row numbered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array
from tallywright.data.raw.archives import plain
from tallywright.data.raw.csv_files import CsvFile
from tallywright.data.raw.headers import columns_of
from tallywright.data.raw.typed import LINE_BITS, Typing, require_types
from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import duckdb

    from tallywright.data.raw.archives import Plain
    from tallywright.data.raw.csv_files import CsvRows
    from tallywright.data.raw.headers import Columns, Header
    from tallywright.spec.sources import Source

_KEY: Final = "tallywright"
_ROW_GROUP: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class CsvCopy:
    """A copy of a raw file that nobody changes.

    Attributes:
        file: The raw file.
        name: What it is called.
        copy: Its copy.
        cut: The copy is the beginning of the file, and may end within a row.
    """

    file: Path
    name: str
    copy: Path
    cut: bool = False


@dataclass(slots=True)
class Account:
    """What staging found, by the number of the file in its source; kept in the staged file.

    Attributes:
        rows: How many rows each file has.
        unreadable: How many of them have a cell that is none of its type, or another width.
        columns: Of the source, in order.
        number: The column that numbers the rows.
        nulls: Cells that are null because `null_value` says so, by column.
        lacking: Columns that a file lacks, by file.
        left_out: Columns of a file that take no part, because other files lack them, by file.
    """

    rows: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    number: str = ""
    nulls: dict[str, int] = field(default_factory=dict)
    lacking: dict[int, list[str]] = field(default_factory=dict)
    left_out: dict[int, list[str]] = field(default_factory=dict)

    def add(self, place: int, rows: CsvRows, unreadable: int) -> None:
        """Counts rows of a file."""
        self.rows[place] += rows.count
        self.unreadable[place] += unreadable
        for name in rows.table.column_names:
            self.nulls[name] = self.nulls.get(name, 0) + int(rows.table[name].null_count)

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def read_account(staged: Path) -> Account:
    """What was found when a staged file was made."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(staged) as file:
        found: dict[str, Any] = json.loads(file.metadata.metadata[_KEY.encode()])
    for by_file in ("lacking", "left_out"):
        found[by_file] = {int(place): columns for place, columns in found[by_file].items()}
    return Account(**found)


def stage_csv(
    where: str,
    source: Source,
    copies: Sequence[CsvCopy],
    used: frozenset[str],
    target: Path,
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Writes the rows of CSV files, in their order, to a Parquet file.

    Raises:
        InputError: A file that cannot be read to its end, or whose header is not the expected one.
        SpecError: A declared type that is not known.
    """
    from pyarrow.parquet import ParquetWriter

    require_types(source.types, where)
    headers = [_header(where, source, copy) for copy in copies]
    found = columns_of(where, source, _present(headers, copies), used)
    typing = Typing(connection, found.names, source.types, strict=source.strict)
    account = _begun(found, typing, copies)
    texts = [name for name in found.names if name not in source.types]
    with ParquetWriter(
        target,
        typing.schema,
        compression="zstd",
        use_dictionary=[*texts, typing.reason, typing.raw_row],
        column_encoding={typing.number: "DELTA_BINARY_PACKED"},
    ) as writer:
        for place, (copy, header) in enumerate(zip(copies, headers, strict=True)):
            if header is None:
                continue
            for rows in _rows(where, source, copy, [name for name in found.names if name in header.columns]):
                table = _numbered(rows, found.names, place, typing)
                account.add(place, rows, table.num_rows - int(table[typing.reason].null_count))
                writer.write_table(table, row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata({_KEY: account.to_json()})


def _opened(where: str, source: Source, copy: CsvCopy) -> AbstractContextManager[Plain]:
    more = f"where that is meant: {where}.max_unpacked_mb"
    suffix = copy.file.suffix.lower()
    return plain(copy.copy, copy.name, suffix=suffix, max_mb=source.max_unpacked_mb, advice=more)


def _header(where: str, source: Source, copy: CsvCopy) -> Header | None:
    size = copy.copy.stat().st_size
    with _opened(where, source, copy) as stream:
        header = CsvFile(copy.name, stream, source, cut=copy.cut).header
    if header is None and copy.cut:
        raise InputError(
            f"{copy.name} holds no whole line in its first {size:,} bytes",
            expected="a header in each file",
            remedy="look at its line ends, and at `quote` in data.sources",
        )
    if header is None and not source.allow_empty:
        raise InputError(
            f"{copy.name} is empty ({size} bytes); expected a header",
            expected="a header in each file",
            remedy="deliver it again; where files may be empty: `allow_empty: true` in data.sources",
        )
    return header


def _present(headers: Sequence[Header | None], copies: Sequence[CsvCopy]) -> list[Header]:
    present = [header for header in headers if header is not None]
    if not present:
        raise InputError(
            f"{copies[0].name} is empty, as are all files of its source",
            expected="a header in at least one file",
            remedy="deliver it again",
        )
    return present


def _begun(found: Columns, typing: Typing, copies: Sequence[CsvCopy]) -> Account:
    places = {copy.name: place for place, copy in enumerate(copies)}
    return Account(
        rows=[0] * len(copies),
        unreadable=[0] * len(copies),
        columns=list(found.names),
        number=typing.number,
        lacking={places[file]: list(columns) for file, columns in found.lacking.items()},
        left_out={places[file]: list(columns) for file, columns in found.left_out.items()},
    )


def _rows(where: str, source: Source, copy: CsvCopy, wanted: Sequence[str]) -> Iterator[CsvRows]:
    with _opened(where, source, copy) as stream:
        file = CsvFile(copy.name, stream, source, cut=copy.cut)
        try:
            yield from file.rows(wanted)
        except pa.ArrowInvalid as error:  # what `records` let through and Arrow's reader refuses
            raise InputError(
                f"{copy.name}: {' '.join(str(error).split())[:200]}",
                expected=f"CSV in {source.encoding}",
                remedy="deliver it again",
            ) from error


def _numbered(rows: CsvRows, columns: Sequence[str], place: int, typing: Typing) -> pa.Table:
    """CsvRows with all columns, their types and numbers; those that cannot be read come last."""
    lacking = pa.nulls(rows.table.num_rows, pa.string())
    present = dict(zip(rows.table.column_names, rows.table.columns, strict=True))
    texts = pa.table({name: present.get(name, lacking) for name in columns})
    table = typing.table(texts, _numbers(place, rows.lines))
    if not rows.unreadable:
        return table
    lines, reasons, raw_rows = zip(*rows.unreadable, strict=True)
    return pa.concat_tables([table, typing.unreadable(_numbers(place, np.array(lines, np.int64)), reasons, raw_rows)])


def _numbers(place: int, lines: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    return number_array((place << LINE_BITS) | lines.astype(np.int64), pa.int64())
