"""Whether the live files of a date are those that its record names, or descend from them by our own compaction.

A record is made when files are committed; the log of the table may have changed since then, and so may the files. What
the log says costs nothing to compare, and a footer a small read a file; pages are checked when they are read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
from pydantic import TypeAdapter

from tallywright.data.delta.damage import damaged, is_damage, words_for
from tallywright.data.delta.footers import read_footer
from tallywright.data.delta.history import commits
from tallywright.data.delta.replacing import FILES_KEY
from tallywright.data.storage.filesystem import storage_errors
from tallywright.records import CommittedFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile
    from tallywright.data.delta.lake import Lake
    from tallywright.errors import IntegrityError

REPLACED_KEY: Final = "tallywright.replaced"
"""In the information of a compaction: the paths of the files whose rows the new file holds."""
_FILES: Final = TypeAdapter(tuple[CommittedFile, ...])
Files = tuple[CommittedFile, ...]


def files_json(files: Sequence[CommittedFile]) -> str:
    """The files as the text that records and commits hold."""
    return json.dumps([file.model_dump() for file in files], separators=(",", ":"))


def files_of_json(text: str | None) -> Files:
    """The files in such a text; none in a record that has none."""
    return _FILES.validate_json(text) if text else ()


def described(lake: Lake, table: str, files: Sequence[DataFile], *, checksums: bool = False) -> Files:
    """The files as they stand now, their footers read.

    Raises:
        OSError: A file is gone or cannot be read.
        pyarrow.ArrowInvalid: One is not a whole Parquet file.
    """
    return tuple(
        read_footer(file.path, lake.options).committed(_relative(lake, table, file), checksums=checksums)
        for file in files
    )


def difference(lake: Lake, table: str, recorded: Sequence[CommittedFile], live: Sequence[DataFile]) -> str:
    """Says in words what differs between the recorded and the live files; empty when nothing does.

    Raises:
        OSError: Storage that cannot be reached.
    """
    return listing_difference(lake, table, recorded, live) or damage_in(lake, table, recorded)


def listing_difference(lake: Lake, table: str, recorded: Sequence[CommittedFile], live: Sequence[DataFile]) -> str:
    """As `difference`, only by what the table's log says of the files: none is opened."""
    known = {file.path: file for file in recorded}
    found = {_relative(lake, table, file): file for file in live}
    for path in sorted(known.keys() | found.keys()):
        if path not in found:
            return f"the file {path} was committed and is no longer part of the table"
        if path not in known:
            return f"the file {path} was added by another writer"
        if (found[path].size, found[path].rows) != (known[path].size, known[path].rows):
            return f"the log says {found[path].rows} rows of the file {path}, committed were {known[path].rows}"
    return ""


def damage_in(lake: Lake, table: str, recorded: Iterable[CommittedFile]) -> str:
    """Says which of the files is not there as it was committed, by its size and its footer; empty when all are.

    Raises:
        OSError: Storage that cannot be reached.
    """
    for file in recorded:
        try:
            footer = read_footer(f"{lake.uri(table)}/{file.path}", lake.options)
        except (OSError, pa.ArrowException) as error:
            if not is_damage(error):
                raise
            return f"the file {file.path}: {words_for(error)}"
        if (footer.size, footer.digest) != (file.size, file.footer):
            return f"the file {file.path} is another one than was committed"
    return ""


def unreadable_file(lake: Lake, table: str) -> IntegrityError | None:
    """The error about the first live file that is gone, torn, or of another size than the table's log says; or None.

    Raises:
        StorageError: Storage that cannot be reached.
    """
    with storage_errors(f"reading {lake.uri(table)}"):
        for file in lake.files(table):
            try:
                found = read_footer(file.path, lake.options)
            except (OSError, pa.ArrowException) as error:
                if not is_damage(error):
                    raise
                return damaged(lake.uri(table), file.path, words_for(error))
            if (found.size, found.metadata.num_rows) != (file.size, file.rows):
                return damaged(lake.uri(table), file.path, "it is not the file that the table's log names")
    return None


def descendants(
    lake: Lake, table: str, handle: DeltaTable, recorded: Sequence[CommittedFile], live: Sequence[DataFile]
) -> Files | None:
    """The live files, where our own compactions made them of exactly the recorded ones; None where they did not."""
    paths = [_relative(lake, table, file) for file in live]
    wanted = {file.path: file for file in recorded}
    made: dict[str, tuple[CommittedFile, tuple[str, ...]]] = {}
    for file, sources in _compactions(lake, handle):
        made[file.path] = (file, sources)
        if sorted(_origins(paths, made)) == sorted(wanted):
            return tuple(wanted[path] if path in wanted else made[path][0] for path in paths)
    return None


def _origins(paths: Iterable[str], made: Mapping[str, tuple[CommittedFile, tuple[str, ...]]]) -> Iterator[str]:
    for path in paths:
        if path in made:
            yield from _origins(made[path][1], made)
        else:
            yield path


def _compactions(lake: Lake, handle: DeltaTable) -> Iterator[tuple[CommittedFile, tuple[str, ...]]]:
    """Yields what compactions made of what, the newest first."""
    for commit in commits(lake, handle):
        if REPLACED_KEY in commit:
            sources = tuple(unquote(path) for path in json.loads(commit[REPLACED_KEY]))
            yield from ((file, sources) for file in files_of_json(commit.get(FILES_KEY)))


def _relative(lake: Lake, table: str, file: DataFile) -> str:
    return file.path.removeprefix(f"{lake.uri(table)}/")
