"""Raw sources: finds their files, and stages CSV as Parquet once per content, so that a second run parses no text."""

# ruff: noqa: S608 - relations and files cannot be parameters; names are quoted, texts and dates are literals
from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.rows import quoted
from tallywright.data.embedded_sql import connect, sql_errors, text_literal
from tallywright.data.etl.staged import StagedDigests
from tallywright.data.storage.filesystem import storage_errors
from tallywright.data.types import arrow_type
from tallywright.errors import InputError, did_you_mean
from tallywright.observability import log
from tallywright.records import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from tallywright.spec import Project
    from tallywright.spec.model import Source

_STAGING: Final = 1
"""Goes into the address of staged files; raised when the way of staging changes."""
_READINGS: Final = 3
Stamps = dict[str, tuple[int, ...]]
"""Size, times and inode of raw files by their path."""


@dataclass(frozen=True, slots=True)
class RawContent:
    """The raw sources as they were read once.

    Attributes:
        files: Parquet files by source.
        digest: Of all content, whatever the files are called.
        stamps: What the file system says about the raw files, by which a change is noticed.
        unstaged: The stamps of the files that queries read themselves, because they are Parquet already.
    """

    files: Mapping[str, list[Path]]
    digest: str
    stamps: Stamps
    unstaged: Stamps


def read_sources(project: Project) -> RawContent:
    """Reads every source of the spec: Parquet files, staged below `<environment.storage.work>/raw` where needed.

    What is staged under a digest is made of the very bytes that have it. Where a file changes while the sources are
    read, all are read again, so that they are of one moment.

    Raises:
        InputError: A file that is missing, cannot be read with the declared types, or keeps changing.
        StorageError: The work folder cannot be written.
    """
    for _ in range(_READINGS):
        stamps = stamps_of(project)
        content = _read_once(project, stamps)
        changed = sorted(path for path, stamp in stamps_of(project).items() if stamps.get(path) != stamp)
        if not changed:
            return content
        log.info("the raw files are read again, because they changed meanwhile: %s", ", ".join(changed))
    raise InputError(
        f"{', '.join(changed)} changed each of {_READINGS} times that the raw files were read",
        expected="raw files that stay as they are while they are read",
        remedy="write a delivery beside the raw file and rename it; then run it again",
    )


def stamps_of(project: Project) -> Stamps:
    """What the file system says about each raw file now."""
    found: Stamps = {}
    for name, source in project.spec.data.sources.items():
        for file in locate(name, source, project.folder):
            with storage_errors(f"reading data.sources.{name}"):
                status = file.stat()
            found[str(file)] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return found


def _read_once(project: Project, stamps: Stamps) -> RawContent:
    work, made = Path(project.environment.storage.work), StagedDigests(Path(project.environment.storage.cache))
    files: dict[str, list[Path]] = {}
    digests: list[list[str]] = []
    unstaged: Stamps = {}
    with connect(work / "spill") as connection:
        for name, source in project.spec.data.sources.items():
            located = locate(name, source, project.folder)
            files[name], found = stage(name, source, located, work / "raw", connection, made)
            digests.append([name, *found])
            if source.format == "parquet":
                unstaged |= {str(file): stamps[str(file)] for file in located if str(file) in stamps}
    return RawContent(files, digest_of(digests), stamps, unstaged)


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
    name: str,
    source: Source,
    files: Sequence[Path],
    work: Path,
    connection: duckdb.DuckDBPyConnection,
    made: StagedDigests,
) -> tuple[list[Path], list[str]]:
    """Parquet files with the source's rows, and the digests of the content of its files.

    The source's own files, or one that is staged under the digest of content and options.
    """
    with storage_errors(f"staging data.sources.{name} in {work}"):
        if source.format == "parquet":
            return list(files), [_footer_digest(file) for file in files]
        digests = [_content_digest(file) for file in files]
        target = _target(name, source, digests, work)
        if made.holds(target):
            os.utime(target, ns=(time.time_ns(), target.stat().st_mtime_ns))  # the last used ones stay
            return [target], digests
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=work) as scratch:
            copies = [_copied(file, Path(scratch) / f"{index}{file.suffix}") for index, file in enumerate(files)]
            digests = [digest for _, digest in copies]
            texts = [_unpacked(name, copy, file, Path(scratch)) for (copy, _), file in zip(copies, files, strict=True)]
            staged = Path(scratch) / "staged.parquet"
            _copy(name, source, texts, staged, connection)
            target = _target(name, source, digests, work)
            made.note(staged, target)
            os.replace(staged, target)  # noqa: PTH105 - the atomic one, said by name
    return [target], digests


def _target(name: str, source: Source, digests: Sequence[str], work: Path) -> Path:
    options = [_STAGING, source.null_value, sorted(source.types.items()), list(digests)]
    return work / f"{name}-{digest_of(options)[:24]}.parquet"


def staged_files(work: Path) -> list[list[Path]]:
    """The staged files below a work folder by source, those that were used last first."""
    by_source: dict[str, list[Path]] = {}
    for file in (work / "raw").glob("*.parquet"):
        if file.is_file() and not file.name.startswith("."):
            by_source.setdefault(file.stem.rpartition("-")[0], []).append(file)
    return [sorted(found, key=_last_used, reverse=True) for found in by_source.values()]


def _last_used(file: Path) -> int:
    status = file.stat()
    return max(status.st_atime_ns, status.st_mtime_ns)


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


def _copied(file: Path, target: Path) -> tuple[Path, str]:
    """A copy that nobody replaces while it is read, and the digest of exactly its bytes."""
    content = hashlib.sha256()
    with file.open("rb") as raw, target.open("wb") as copy:
        while block := raw.read(1 << 20):
            content.update(block)
            copy.write(block)
    return target, content.hexdigest()


def _footer_digest(file: Path) -> str:
    """The digest of size and footer of a Parquet file: the footer has the place and the statistics of every column."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(8)[:4], "little")
        stream.seek(max(0, size - 8 - length))
        return digest_of([size, hashlib.sha256(stream.read()).hexdigest()])


def _unpacked(name: str, copy: Path, file: Path, scratch: Path) -> Path:
    """The copy of a file, or the one CSV in it when it is a zip (which SQL engines do not read)."""
    if file.suffix != ".zip":
        return copy
    try:
        with zipfile.ZipFile(copy) as archive:
            members = [member for member in archive.namelist() if member.endswith(".csv")]
            if len(members) != 1:
                raise InputError(
                    f"data.sources.{name}: {file} holds {members or 'no CSV'}", expected="exactly one .csv"
                )
            target = scratch / f"unpacked-{copy.stem}.csv"
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
