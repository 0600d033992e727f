"""Raw sources: finds their files, and stages CSV as Parquet once per content, so that a second run parses no text."""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors, text_literal
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.types import arrow_type
from tallywright.errors import InputError, did_you_mean
from tallywright.records import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from tallywright.spec import Project
    from tallywright.spec.model import Source

_STAGING: Final = 1
"""Goes into the address of staged files; raised when the way of staging changes."""


def stage_sources(project: Project) -> dict[str, list[Path]]:
    """Parquet files for every source of the spec, staged below `<environment.storage.work>/raw` where needed.

    Raises:
        InputError: A file that is missing or cannot be read with the declared types.
        StorageError: The work folder cannot be written.
    """
    work = Path(project.environment.storage.work)
    with connect(work / "spill") as connection:
        return {
            name: stage(name, source, locate(name, source, project.folder), work / "raw", connection)
            for name, source in project.spec.data.sources.items()
        }


def locate(name: str, source: Source, folder: Path) -> list[Path]:
    """The files of a source, sorted; a package is found on the path but not imported.

    Raises:
        InputError: No such package, or no file that fits.
    """
    base = folder if source.package is None else _package_folder(name, source.package)
    path = base / source.path
    if path.is_dir():
        found = [file for file in path.iterdir() if file.is_file() and not file.name.startswith((".", "_"))]
    elif any(letter in source.path for letter in "*?["):
        found = [file for file in base.glob(source.path) if file.is_file()]
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise InputError(
            f"data.sources.{name}: no file {path}",
            expected=f"a {source.format} file, a folder or a glob below {base}",
            remedy="put the raw file there, or correct data.sources",
        )
    return sorted(found)


def stage(
    name: str, source: Source, files: Sequence[Path], work: Path, connection: duckdb.DuckDBPyConnection
) -> list[Path]:
    """Parquet files with the source's rows: its own, or one that is staged under the digest of content and options."""
    if source.format == "parquet":
        return list(files)
    with storage_errors(f"staging data.sources.{name} in {work}"):
        options = [_STAGING, source.null_value, sorted(source.types.items()), [_content_digest(file) for file in files]]
        target = work / f"{name}-{digest_of(options)[:24]}.parquet"
        if target.is_file():
            return [target]
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=work) as scratch:
            texts = [_unpacked(name, file, Path(scratch)) for file in files]
            staged = Path(scratch) / "staged.parquet"
            _copy(name, source, texts, staged, connection)
            os.replace(staged, target)  # noqa: PTH105 - the atomic one, said by name
    return [target]


def _package_folder(name: str, package: str) -> Path:
    top, *rest = package.split(".")
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise InputError(
            f"data.sources.{name}: package {package} is not installed",
            expected="an installed package that holds the raw files",
            remedy=f"install it: pip install {package}",
        )
    return Path(places[0], *rest)


def _content_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpacked(name: str, file: Path, scratch: Path) -> Path:
    """The file, or the one CSV in it when it is a zip (which SQL engines do not read)."""
    if file.suffix != ".zip":
        return file
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.namelist() if member.endswith(".csv")]
            if len(members) != 1:
                raise InputError(
                    f"data.sources.{name}: {file} holds {members or 'no CSV'}", expected="exactly one .csv"
                )
            target = scratch / f"{len(list(scratch.iterdir()))}.csv"
            with archive.open(members[0]) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            return target
    except zipfile.BadZipFile as error:
        raise InputError(f"data.sources.{name}: {file} is damaged: {error}", expected="a readable zip file") from error


def _copy(
    name: str, source: Source, files: Sequence[Path], target: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    """Writes the rows in file order; every column is text until its declared type is applied."""
    where = f"data.sources.{name}"
    nulls = ", ".join(text_literal(text) for text in dict.fromkeys([source.null_value, ""]))
    listed = ", ".join(text_literal(str(file)) for file in files)
    scan = (
        f"read_csv([{listed}], header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', "
        f"nullstr = [{nulls}], union_by_name = true)"
    )
    with sql_errors(where, "correct the file, or data.sources.*.types and null_value"):
        columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()]
        _require_columns(where, source, columns)
        picked = ", ".join(_typed(where, column, source) for column in columns)
        connection.execute(
            f"COPY (SELECT {picked} FROM {scan}) TO {text_literal(str(target))} (FORMAT parquet, COMPRESSION zstd)"
        )


def _typed(where: str, column: str, source: Source) -> str:
    declared = source.types.get(column)
    if declared is None:
        return quoted(column)
    arrow_type(declared, f"{where}.types.{column}")  # refuses what is not a plain type name
    return f"CAST({quoted(column)} AS {declared}) AS {quoted(column)}"


def _require_columns(where: str, source: Source, columns: Sequence[str]) -> None:
    for missing in sorted(set(source.types) - set(columns)):
        raise InputError(
            f"{where}: no column {missing!r}{did_you_mean(missing, columns)}",
            expected=f"the columns of the file: {', '.join(columns)}",
            remedy="correct data.sources.*.types, or ask whoever delivers the file",
        )
