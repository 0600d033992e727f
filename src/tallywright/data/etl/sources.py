"""Raw sources: finds their files, and stages CSV as Parquet once per content, so that a second run parses no text.

What is staged is a cache under the digest of what it was made of, and carries the digest of its own bytes in its name:
a file that is not what its name says is made again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.data.embedded_sql import connect, sql_errors
from tallywright.data.etl.staged import StagedDigests, content_digest
from tallywright.data.raw.files import Located, locate
from tallywright.data.raw.headers import columns_of
from tallywright.data.raw.parquet_files import keys_by_file, look, require_one_type
from tallywright.data.raw.relation import RawFile, Relation
from tallywright.data.raw.staging import Account, CsvCopy, read_account, stage_csv
from tallywright.data.storage.filesystem import storage_errors
from tallywright.errors import InputError, SpecError
from tallywright.observability import log
from tallywright.records import digest_of
from tallywright.spec.places import leads_outside, real

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from tallywright.spec import Project
    from tallywright.spec.sources import Source

_STAGING: Final = 3
"""Goes into the address of staged files; raised when the way of staging changes."""
_READINGS: Final = 3
_READ_BY: Final = {
    "strict", "null_value", "types", "delimiter", "quote", "encoding", "header", "columns", "may_lack", "allow_empty",
    "bad_lines",
}  # fmt: skip
"""The keys of a source that say what is read from its files."""
_WORD: Final = re.compile(r"\w+")
Stamps = dict[str, tuple[int, ...]]
"""Size, times and inode of raw files by their path."""


@dataclass(frozen=True, slots=True)
class RawContent:
    """The raw sources as they were read once.

    Attributes:
        relations: What engines read, by source.
        raw_files: All raw files in the order of their numbers, with their rows.
        digest: Of all content, whatever the files are called.
        stamps: What the file system says about the raw files, by which a change is noticed.
        unstaged: The stamps of the files that queries read themselves, because they are Parquet already.
    """

    relations: Mapping[str, Relation]
    raw_files: tuple[RawFile, ...]
    digest: str
    stamps: Stamps
    unstaged: Stamps

    @property
    def files(self) -> dict[str, list[Path]]:
        """Parquet files by source."""
        return {name: list(relation.paths) for name, relation in self.relations.items()}


def read_sources(project: Project) -> RawContent:
    """Reads every source of the spec: Parquet files, staged below `<environment.storage.work>/raw` where needed.

    What is staged under a digest is made of the very bytes that have it. Where a file changes while the sources are
    read, all are read again, so that they are of one moment.

    Raises:
        InputError: A file that is missing, cannot be read to its end, has not the expected columns, or keeps changing.
        StorageError: The work folder cannot be written.
    """
    for _ in range(_READINGS):
        stamps = stamps_of(project)
        try:
            content: RawContent | InputError = _read_once(project, stamps)
        except InputError as error:  # perhaps of a file that somebody writes just now
            content = error
        changed = sorted(path for path, stamp in stamps_of(project).items() if stamps.get(path) != stamp)
        if not changed:
            if isinstance(content, InputError):
                raise content
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
        files = locate(name, source, project.folder).files
        if source.package is None:
            require_inside(project, name, files)
        for file in files:
            with storage_errors(f"reading data.sources.{name}"):
                status = file.stat()
            found[str(file)] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return found


def require_inside(project: Project, name: str, files: Sequence[Path]) -> None:
    """Refuses raw files that lie outside of the project, links followed, and of the folders that the overlay names.

    Raises:
        SpecError: Names the first of them.
    """
    inside = real((project.root, project.folder, *project.environment.storage.raw))
    places = {file if file.is_symlink() else file.parent: file for file in files}
    outside = next((file for place, file in places.items() if leads_outside(place, "", inside)), None)
    if outside is not None:
        raise SpecError(
            f"data.sources.{name}: {outside} leads out of the project, to {outside.resolve().parent}",
            expected="raw files in the project, or in a folder that the overlay names",
            remedy=f"where it is meant, write in conf/{project.environment.name}.yaml `storage: {{raw: "
            f"[{outside.resolve().parent}]}}`",
        )


def leading_outside(project: Project) -> list[SpecError]:
    """What `require_inside` raises for each source, as far as its files are there."""
    found = []
    for name, source in project.spec.data.sources.items():
        try:
            if source.package is None:
                require_inside(project, name, locate(name, source, project.folder).files)
        except SpecError as error:
            found.append(error)
        except InputError:
            continue  # that files are missing is no matter of the spec
    return found


def _read_once(project: Project, stamps: Stamps) -> RawContent:
    work, cache = Path(project.environment.storage.work), Path(project.environment.storage.cache)
    made = StagedDigests(work / "raw", cache)
    used = words_of(project)
    relations: dict[str, Relation] = {}
    raw_files: list[RawFile] = []
    digests: list[list[str]] = []
    unstaged: Stamps = {}
    with connect(work / "spill") as connection:
        for name, source in project.spec.data.sources.items():
            located = locate(name, source, project.folder)
            if located.left_alone:
                listed = ", ".join(map(located.name_of, located.left_alone))
                log.info("data.sources.%s: left alone, no data file: %s", name, listed)
            with storage_errors(f"staging data.sources.{name} in {work / 'raw'}"):
                if source.format == "parquet":
                    relation, files, found = _parquet(name, source, located, used, len(raw_files))
                    unstaged |= {str(file): stamps[str(file)] for file in located.files if str(file) in stamps}
                else:
                    path, account, found = stage(name, source, located, used, made, connection)
                    relation, files = _staged(name, source, located, path, account, len(raw_files))
            relations[name] = relation
            raw_files += files
            digests.append([name, *found])
    return RawContent(relations, tuple(raw_files), digest_of(digests), stamps, unstaged)


def words_of(project: Project) -> frozenset[str]:
    """The words of the model's queries; one that cannot be read is refused later, by whoever runs it."""
    data, words = project.spec.data, set()
    for file in (data.contract, data.features, data.labels):
        with suppress(OSError, UnicodeDecodeError):
            words |= set(_WORD.findall((project.folder / file).read_text(encoding="utf-8").lower()))
    return frozenset(words)


def _parquet(
    name: str, source: Source, located: Located, used: frozenset[str], first_file: int
) -> tuple[Relation, list[RawFile], list[str]]:
    """A source whose files queries read themselves."""
    where, plain = f"data.sources.{name}", source.model_copy(update={"types": {}})
    found = [look(where, file, located.name_of(file)) for file in located.files]
    every = [column for header, _, _ in found for column in header.columns]
    keys = keys_by_file(where, source, located, located.files, every)
    columns = columns_of(where, plain, [header for header, _, _ in found], used)
    if source.strict:
        require_one_type(where, {header.file: schema for header, _, schema in found}, columns.names)
    counts = {header.file: rows for header, rows, _ in found}
    for file, lacking in columns.lacking.items():
        _say_lacking(where, file, lacking, counts[file], source)
    for file, left_out in columns.left_out.items():
        _say_left_out(where, file, left_out)
    relation = Relation(located.files, columns.names, "", first_file, keys=keys)
    files = [RawFile(source=name, file=header.file, rows=rows) for header, rows, _ in found]
    return relation, files, [_footer_digest(file) for file in located.files]


def _staged(
    name: str, source: Source, located: Located, path: Path, account: Account, first_file: int
) -> tuple[Relation, list[RawFile]]:
    """A source whose files are staged, and what there is to say of them."""
    where, names = f"data.sources.{name}", [located.name_of(file) for file in located.files]
    for place, lacking in account.lacking.items():
        _say_lacking(where, names[place], lacking, account.rows[place], source)
    for place, left_out in account.left_out.items():
        _say_left_out(where, names[place], left_out)
    files = [
        RawFile(source=name, file=file, rows=rows, unreadable=bad)
        for file, rows, bad in zip(names, account.rows, account.unreadable, strict=True)
    ]
    bad = sum(account.unreadable)
    return Relation((path,), tuple(account.columns), account.number, first_file, unreadable=bad), files


def _say_lacking(where: str, file: str, lacking: Sequence[str], rows: int, source: Source) -> None:
    asked = "" if source.strict else f"; to say so: `{where}.may_lack: [{', '.join(lacking)}]`"
    log.warning("%s: %s lacks %s, which is null in its %d rows%s", where, file, ", ".join(lacking), rows, asked)


def _say_left_out(where: str, file: str, left_out: Sequence[str]) -> None:
    log.info("%s: %s of %s takes no part: other files lack it, and no query names it", where, ", ".join(left_out), file)


def stage(
    name: str,
    source: Source,
    located: Located,
    used: frozenset[str],
    made: StagedDigests,
    connection: duckdb.DuckDBPyConnection,
) -> tuple[Path, Account, list[str]]:
    """The Parquet file with a source's rows, what was found in its files, and the digests of their content.

    Staged under the digest of content and options, unless it is already.
    """
    digests = [content_digest(file) for file in located.files]
    address = _address(source, located.files, digests)
    standing = _standing(name, address, used, made)
    if standing is not None:
        path, account = standing
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # the last used ones stay
        return path, account, digests
    made.staged.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=made.staged) as scratch:
        copied = [_copied(file, Path(scratch) / f"{place}.raw") for place, file in enumerate(located.files)]
        copies = [
            CsvCopy(file, located.name_of(file), copy) for file, (copy, _) in zip(located.files, copied, strict=True)
        ]
        digests = [digest for _, digest in copied]
        staged = Path(scratch) / "staged.parquet"
        _copy(name, source, copies, used, staged, connection)
        account = read_account(staged)
        address = _address(source, located.files, digests)
        digest = content_digest(staged)
        target = made.staged / f"{name}-{address}-{digest[:24]}.parquet"
        made.note(digest, target)
        os.replace(staged, target)  # noqa: PTH105 - the atomic one, said by name
    _say_nulls(name, source, account)
    return target, account, digests


def _say_nulls(name: str, source: Source, account: Account) -> None:
    """Says how many cells of which column became null."""
    nulls = ", ".join(f"{column} {cells:,}" for column, cells in account.nulls.items() if cells)
    if nulls:
        said = ", ".join(repr(text) for text in source.null_texts)
        log.info("data.sources.%s: cells that are null, because they are %s: %s", name, said, nulls)


def _address(source: Source, files: Sequence[Path], digests: Sequence[str]) -> str:
    """Under which what is staged of these files is found again."""
    options = source.model_dump(mode="json", include=_READ_BY)
    endings = [file.suffix.lower() for file in files]
    return digest_of([_STAGING, options, endings, list(digests)])[:24]


def _standing(name: str, address: str, used: frozenset[str], made: StagedDigests) -> tuple[Path, Account] | None:
    """The staged file of an address, where it is whole and leaves out no column that a query now names."""
    for path in sorted(made.staged.glob(f"{name}-{address}-*.parquet")):
        if not made.holds(path):
            path.unlink(missing_ok=True)
            continue
        account = read_account(path)
        if not {column.lower() for columns in account.left_out.values() for column in columns} & used:
            return path, account
    return None


def staged_files(work: Path) -> list[list[Path]]:
    """The staged files below a work folder by source, those that were used last first."""
    by_source: dict[str, list[Path]] = {}
    for file in (work / "raw").glob("*.parquet"):
        if file.is_file() and not file.name.startswith("."):
            by_source.setdefault(file.stem.partition("-")[0], []).append(file)
    return [sorted(found, key=_last_used, reverse=True) for found in by_source.values()]


def _last_used(file: Path) -> int:
    status = file.stat()
    return max(status.st_atime_ns, status.st_mtime_ns)


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


def _copy(
    name: str,
    source: Source,
    copies: Sequence[CsvCopy],
    used: frozenset[str],
    target: Path,
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Stages copies of the raw files."""
    where = f"data.sources.{name}"
    with sql_errors(where, "correct the file, or data.sources.*.types and null_value"):
        stage_csv(where, source, copies, used, target, connection)
