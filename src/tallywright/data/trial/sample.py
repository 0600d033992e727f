"""A sample of each raw source: which files it has, and the beginning of some of them, as ingest would read it.

Text is read by the reader that ingest uses, over copies that end after so many bytes; what may be a part of a row at
such an end is left out. Everything that is written lies in a folder that the caller removes.
"""

# ruff: noqa: S608 - files and columns cannot be parameters; names are quoted, paths are literals

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import QueryTimeError, parquet_rows, run, sql_errors, text_literal
from tallywright.data.etl.engine import no_pattern
from tallywright.data.etl.sources import require_inside
from tallywright.data.raw.beginnings import beginning
from tallywright.data.raw.files import Located, locate
from tallywright.data.raw.headers import columns_of, shown
from tallywright.data.raw.parquet_files import keys_by_file, look, require_one_type
from tallywright.data.raw.relation import RawFile, Relation
from tallywright.data.raw.staging import CsvCopy, read_account, stage_csv
from tallywright.data.storage.filesystem import storage_errors
from tallywright.errors import InputError, TallyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from tallywright.data.raw.headers import Header
    from tallywright.spec import Project
    from tallywright.spec.sources import Source

FILES: Final = 100
"""How many files of a source are opened: the first, the last, and others evenly between them."""
BYTES: Final = 8 << 20
"""How many bytes of a source's text are read, unpacked; its files share them."""
LEAST_BYTES: Final = 128 << 10
"""What a file's share is at least."""
ROWS: Final = 50_000
"""How many rows of a Parquet source are read, of the first row group of each file; its files share them."""
_LEAST_ROWS: Final = 100
_SHOWN: Final = 3
_REFUSED: Final = 10
"""How many files are told of that cannot be read."""
Left = Callable[[], float]
"""How many seconds are left."""


class TimeUpError(Exception):
    """The time for looking is over."""


@dataclass(slots=True)
class SampledFile:
    """What was read of a file; `whole` when that is all of it."""

    file: str
    rows: int
    unreadable: int
    whole: bool


@dataclass(slots=True)
class SampledSource:
    """What was found in a source.

    Attributes:
        source: Its name.
        files: How many it has.
        looked_at: The files that were read, in their order.
        null_cells: How many cells are null, by column; columns without any are left out.
        unused_columns: Columns that neither spec nor queries name.
        types: Of all its columns, as the queries see them; empty where they are not known.
        unreadable: The first rows that cannot be read, each with file, line and reason.
        errors: Why it cannot be ingested as it is.
        notes: What is worth knowing and stops nothing.
        relation: For the queries; None where there is none.
        in_time: False where the time was over before it was read.
    """

    source: str
    files: int = 0
    looked_at: list[SampledFile] = field(default_factory=list)
    null_cells: dict[str, int] = field(default_factory=dict)
    unused_columns: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    errors: list[TallyError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    relation: Relation | None = None
    in_time: bool = True

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(file.rows for file in self.looked_at)

    @property
    def is_whole(self) -> bool:
        """True where all rows of all files were read."""
        return len(self.looked_at) == self.files and all(file.whole for file in self.looked_at)

    @property
    def raw_files(self) -> list[RawFile]:
        """The files as the queries number them."""
        return [
            RawFile(source=self.source, file=one.file, rows=one.rows, unreadable=one.unreadable)
            for one in self.looked_at
        ]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where and how sources are sampled.

    Attributes:
        project: Whose sources.
        scratch: An empty folder for copies.
        connection: Casts as the queries do.
        used: The words of the queries.
        left: How many seconds are left.
    """

    project: Project
    scratch: Path
    connection: duckdb.DuckDBPyConnection
    used: frozenset[str]
    left: Left

    def require_time(self) -> None:
        """Ends the work when its time is up.

        Raises:
            TimeUpError: No second is left.
        """
        if self.left() <= 0:
            raise TimeUpError

    def execute(self, statement: str, where: str) -> duckdb.DuckDBPyConnection:
        """Runs a statement, which a signal or the end of the time stops."""
        self.require_time()
        try:
            with sql_errors(where, "replace the damaged file"):
                return run(self.connection, lambda: self.connection.execute(statement), where, minutes=self.left() / 60)
        except QueryTimeError as error:
            raise TimeUpError from error


def sampled(name: str, source: Source, sampling: Sampling, first_file: int) -> SampledSource:
    """Reads the beginning of some files of a source; what is wrong with them stands in the result.

    Args:
        name: Of the source.
        source: What the spec says of it.
        sampling: Where and how.
        first_file: The number of the source's first file among those that are read of all sources.
    """
    found = SampledSource(name)
    try:
        sampling.require_time()
        with storage_errors(f"reading data.sources.{name}"):
            located = locate(name, source, sampling.project.folder)
            if source.package is None:
                require_inside(sampling.project, name, located.files)
            found.files = len(located.files)
            if located.left_alone:
                names = [located.name_of(file) for file in located.left_alone]
                found.notes.append(f"data.sources.{name}: left alone, no data file: {shown(names)}")
            located = replace(located, files=_spread(located.files))
            if source.format == "parquet":
                _sample_parquet(found, source, located, sampling, first_file)
            else:
                _sample_csv(found, source, located, sampling, first_file)
    except TallyError as error:
        found.errors.append(error)
    except TimeUpError:
        found.in_time = False
    _add_notes(found, source, sampling.used)
    return found


def _spread(files: Sequence[Path]) -> tuple[Path, ...]:
    """At most `FILES` of them: the first, the last, and others evenly between."""
    if len(files) <= FILES:
        return tuple(files)
    return tuple(files[place * (len(files) - 1) // (FILES - 1)] for place in range(FILES))


def _add_notes(found: SampledSource, source: Source, used: frozenset[str]) -> None:
    where = f"data.sources.{found.source}"
    named = {name.lower() for name in (*source.types, *source.columns, *source.may_lack)} | used
    found.unused_columns = [name for name in found.types if name.lower() not in named]
    if found.unused_columns:
        found.notes.append(f"{where}: columns that neither spec nor queries name: {shown(found.unused_columns)}")
    bad = sum(file.unreadable for file in found.looked_at)
    if not bad:
        return
    examples = "; ".join(found.unreadable)
    if 2 * bad > found.rows:
        found.errors.append(
            InputError(
                f"{where}: {bad:,} of the {found.rows:,} rows that were read cannot be used, such as {examples}",
                expected="rows that can be read",
                remedy=f"correct {where}.types or null_value, or ask whoever delivers the files",
            )
        )
    else:
        found.notes.append(f"{where}: {bad:,} of {found.rows:,} rows would be quarantined, such as {examples}")


def _say_columns(
    found: SampledSource, lacking: Mapping[str, Sequence[str]], left_out: Mapping[str, Sequence[str]]
) -> None:
    where = f"data.sources.{found.source}"
    found.notes += [f"{where}: {file} lacks {shown(names)}: null in its rows" for file, names in lacking.items()]
    found.notes += [
        f"{where}: {shown(names)} of {file} takes no part: other files lack it" for file, names in left_out.items()
    ]


# --- Text ---------------------------------------------------------------------------------------------------------


def _sample_csv(found: SampledSource, source: Source, located: Located, sampling: Sampling, first_file: int) -> None:
    where, share = f"data.sources.{found.source}", max(BYTES // len(located.files), LEAST_BYTES)
    copies: list[CsvCopy] = []
    folder = sampling.scratch / found.source
    folder.mkdir()
    for place, file in enumerate(located.files):
        sampling.require_time()
        try:
            name = located.name_of(file)
            copies.append(beginning(where, source, file, name, folder / f"{place}.csv", share))
        except InputError as error:
            found.errors.append(error)
    target = folder / "staged.parquet"
    copies = _staged(found, source, copies, sampling, target)
    if not copies:
        return
    account = read_account(target)
    whole = {copy.name: not copy.cut for copy in copies}
    found.looked_at = [
        SampledFile(copy.name, rows, bad, whole[copy.name])
        for copy, rows, bad in zip(copies, account.rows, account.unreadable, strict=True)
    ]
    found.null_cells = {column: cells for column, cells in account.nulls.items() if cells}
    lacking, left_out = (
        {copies[place].name: columns for place, columns in by_file.items()}
        for by_file in (account.lacking, account.left_out)
    )
    _say_columns(found, lacking, left_out)
    bad = sum(account.unreadable)
    found.relation = Relation((target,), tuple(account.columns), account.number, first_file, unreadable=bad)
    found.types = _types(sampling, found.relation)
    if bad:
        found.unreadable = _first_unreadable(sampling, found.relation, [copy.name for copy in copies])


def _staged(
    found: SampledSource, source: Source, copies: list[CsvCopy], sampling: Sampling, target: Path
) -> list[CsvCopy]:
    """Stages the copies, without those that cannot be read; returns those that could."""
    for _ in range(_REFUSED):
        try:
            if copies:
                _stage(found.source, source, copies, sampling, target)
        except InputError as error:
            found.errors.append(error)
            about = [copy for copy in copies if error.found.startswith(f"{copy.name} ")]
            if not about:
                return []
            copies = [copy for copy in copies if copy is not max(about, key=lambda copy: len(copy.name))]
        else:
            return copies
    return []


def _stage(name: str, source: Source, copies: Sequence[CsvCopy], sampling: Sampling, target: Path) -> None:
    sampling.require_time()
    where = f"data.sources.{name}"
    with sql_errors(where, "correct the file, or data.sources.*.types and null_value"):
        stage_csv(where, source, copies, sampling.used, target, sampling.connection)


def _first_unreadable(sampling: Sampling, staged: Relation, files: Sequence[str]) -> list[str]:
    number, reason = quoted(staged.number), quoted(staged.reason)
    query = (
        f"SELECT {number} >> 40, {number} & ((1::BIGINT << 40) - 1), {reason} "
        f"FROM {_scan(staged.paths)} WHERE {reason} IS NOT NULL ORDER BY {number} LIMIT {_SHOWN}"
    )
    rows = sampling.execute(query, "rows that cannot be read").fetchall()
    return [f"{files[place]} line {line}: {reason}" for place, line, reason in rows]


# --- Parquet ------------------------------------------------------------------------------------------------------


def _sample_parquet(
    found: SampledSource, source: Source, located: Located, sampling: Sampling, first_file: int
) -> None:
    where, plainly = f"data.sources.{found.source}", source.model_copy(update={"types": {}})
    headers: list[tuple[Path, Header, int]] = []
    schemas: dict[str, pa.Schema] = {}
    for file in located.files:
        sampling.require_time()
        try:
            header, rows, schemas[located.name_of(file)] = look(where, file, located.name_of(file))
            headers.append((file, header, rows))
        except InputError as error:
            found.errors.append(error)
    if not headers:
        return
    files = [file for file, _, _ in headers]
    every = [column for _, header, _ in headers for column in header.columns]
    keys = keys_by_file(where, source, located, files, every)
    columns = columns_of(where, plainly, [header for _, header, _ in headers], sampling.used)
    _say_columns(found, columns.lacking, columns.left_out)
    if source.strict:
        require_one_type(where, schemas, columns.names)
    folder = sampling.scratch / found.source
    folder.mkdir()
    paths = []
    for place, (file, header, rows) in enumerate(headers):
        taken = min(rows, _most_rows(file, rows, len(headers)))
        path = file if taken == rows else folder / f"{place}.parquet"
        if path is not file:
            _copy_rows(file, path, taken, sampling, f"{where}: {header.file}")
        paths.append(path)
        found.looked_at.append(SampledFile(header.file, taken, 0, taken == rows))
    found.relation = Relation(tuple(paths), columns.names, "", first_file, keys=keys)
    found.types = _types(sampling, found.relation)
    found.null_cells = _nulls(sampling, found.relation, where)
    _compare_types(found, source)


def _compare_types(found: SampledSource, source: Source) -> None:
    where = f"data.sources.{found.source}"
    for column, declared in source.types.items():
        kind = found.types.get(column)
        if kind is None:
            found.notes.append(f"{where}.types.{column}: no file has that column; types say nothing of Parquet")
        elif kind.upper() != declared.strip().upper():
            found.notes.append(f"{where}.types.{column}: {declared}, and the files have {kind}, which is what is read")


def _most_rows(file: Path, rows: int, files: int) -> int:
    """How many rows of a file are read: of its first row group, and no more than its share of rows and bytes."""
    from pyarrow.parquet import read_metadata

    most = max(ROWS // files, _LEAST_ROWS)
    if rows <= 0:
        return most
    group = read_metadata(file).row_group(0)
    width = max(1, int(group.total_byte_size) // max(1, int(group.num_rows)))
    return max(1, min(most, int(group.num_rows), BYTES // files // width))


def _copy_rows(file: Path, target: Path, rows: int, sampling: Sampling, where: str) -> None:
    """Copies the first rows of a Parquet file, with the types that the queries' engine gives them."""
    copied = f"COPY (SELECT * FROM {_scan([file])} LIMIT {rows}) TO {text_literal(str(target))} (FORMAT parquet)"
    sampling.execute("SET threads = 1", where)  # else each thread begins with a row group of its own
    try:
        sampling.execute(copied, where)
    finally:
        sampling.connection.execute("RESET threads")


def _nulls(sampling: Sampling, relation: Relation, where: str) -> dict[str, int]:
    counted = ", ".join(f"count(*) - count({quoted(column)})" for column in relation.columns)
    if not counted:
        return {}
    [cells] = sampling.execute(f"SELECT {counted} FROM {_scan(relation.paths)}", where).fetchall()
    return {column: count for column, count in zip(relation.columns, cells, strict=True) if count}


def _types(sampling: Sampling, relation: Relation) -> dict[str, str]:
    """The columns of a relation with their types."""
    rows = sampling.execute(f"DESCRIBE SELECT * FROM {_scan(relation.paths)}", "the columns of a source").fetchall()
    kinds = {str(name): str(kind) for name, kind, *_ in rows}
    return {name: kinds[name] for name in relation.columns} | dict.fromkeys(relation.key_columns, "VARCHAR")


def _scan(paths: Sequence[Path]) -> str:
    return parquet_rows(map(no_pattern, paths), "hive_partitioning = false")
