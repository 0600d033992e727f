"""Whether the rows of a date are still those of its tally: its files, or files that hold the same rows.

Our own compaction says in its commit what it made of what; files of another OPTIMIZE, and tallies of before, which name
no files, are compared by content. What was found is recorded with the tally by the next scoring run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tallywright.data.delta.rows import keep
from tallywright.data.delta.standing import damage_in, descendants, described, listing_difference
from tallywright.data.fingerprint import digest
from tallywright.data.storage.filesystem import filesystem_of, storage_errors
from tallywright.errors import IntegrityError
from tallywright.records import Role
from tallywright.scoring.commit.manifests import Tally, logged_tallies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable

    from tallywright.data.delta.files import DataFile
    from tallywright.data.delta.lake import Lake
    from tallywright.data.delta.standing import Files
    from tallywright.data.fingerprint import RowDigest
    from tallywright.records import CommittedFile, Manifest
    from tallywright.spec.model import ModelSpec


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of a tally: the files that hold its rows, or the problem with them."""

    problem: str = ""
    files: Files = ()


def standing_of(lake: Lake, spec: ModelSpec, tally: Tally) -> Standing:
    """Compares the live files of a tally's date, of its scores and of its shadows, with what was committed.

    Raises:
        StorageError: Storage that cannot be read.
    """
    found = _standing(lake, spec.table("scores"), lake.find(spec.table("scores")), spec, tally)
    if found.problem or not any(one.role is Role.SHADOW and one.rows for one in tally.manifest.roles):
        return found
    problem = shadow_problem(lake, spec, tally.manifest)
    return Standing(problem) if problem else found


def require_standing(lake: Lake, spec: ModelSpec, tally: Tally) -> None:
    """Refuses a date whose rows are not those of its tally.

    Raises:
        IntegrityError: Names what is wrong, and how to repair it.
    """
    found = standing_of(lake, spec, tally)
    if found.problem:
        raise integrity_error(spec, tally.manifest, found.problem)


def tally_rows(
    lake: Lake, spec: ModelSpec, tally: Tally, handle: DeltaTable, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a tally in one version of the scores table, read only where they are what it has committed.

    Raises:
        IntegrityError: Names the file that is not, the date, and how to repair it.
        StorageError: Storage that cannot be read.
        TableContractError: A column that the table does not have.
    """
    table, day = spec.table("scores"), tally.manifest.score_date
    problem = _standing(lake, table, handle, spec, tally).problem
    if problem:
        raise integrity_error(spec, tally.manifest, problem)
    return lake.read(table, where={"score_date": day}, columns=columns, version=handle)


def integrity_error(spec: ModelSpec, manifest: Manifest, problem: str) -> IntegrityError:
    """The error about a tally that does not stand."""
    return IntegrityError(
        f"{manifest.score_date} of {spec.name} is not what generation {manifest.generation} committed: {problem}",
        expected="the files of the commit, or files that compaction made of them",
        remedy=f"tally score {spec.name} --date {manifest.score_date}",
    )


def shadow_problem(lake: Lake, spec: ModelSpec, manifest: Manifest) -> str:
    """Says what is wrong with the shadows of a date; empty when they stand."""
    table = spec.table("shadow")
    handle = lake.find(table)
    if handle is None:
        return f"the table {table} is gone"
    tally = next(logged_tallies(lake, handle, manifest.score_date), None)
    return "" if tally is None else _standing(lake, table, handle, spec, tally).problem


def files_at_commit(lake: Lake, spec: ModelSpec, tally: Tally) -> Files:
    """The files of a commit that does not name them, as the table's own writer made them.

    Raises:
        StorageError: Storage that cannot be read.
    """
    table, day = spec.table("scores"), tally.manifest.score_date
    with storage_errors(f"looking at the files of {lake.uri(table)}"):
        return described(lake, table, lake.files(table, day=day, version=tally.version))


def listed_problem(lake: Lake, spec: ModelSpec, tally: Tally) -> str:
    """As `standing_of`, for many dates at once: only by what the log says of the files, and by their sizes."""
    table, day = spec.table("scores"), tally.manifest.score_date
    handle = lake.find(table)
    if handle is None:
        return f"the table {table} is gone"
    live = lake.files(table, day=day, version=handle)
    if not tally.files:
        rows = sum(file.rows for file in live)
        return "" if rows == tally.manifest.rows else f"it has {rows} rows, committed were {tally.manifest.rows}"
    if listing_difference(lake, table, tally.files, live):
        return standing_of(lake, spec, tally).problem
    return _missing(lake, live)


def _missing(lake: Lake, live: Sequence[DataFile]) -> str:
    for file in live:
        filesystem, inner = filesystem_of(file.path, lake.options)
        found = filesystem.get_file_info(inner)
        if found.size != file.size:
            return f"the file {file.path.removeprefix(lake.root)} is gone or has another size"
    return ""


def _standing(lake: Lake, table: str, handle: DeltaTable | None, spec: ModelSpec, tally: Tally) -> Standing:
    day = tally.manifest.score_date
    if handle is None:
        return Standing(f"the table {table} is gone")
    with storage_errors(f"comparing {day} of {lake.uri(table)} with its tally"):
        live = lake.files(table, day=day, version=handle)
        problem = listing_difference(lake, table, tally.files, live)
        files: Files | None = tally.files
        if problem or not files:
            files = descendants(lake, table, handle, tally.files, live) if tally.files else None
            if files is None:
                return _by_content(lake, spec, table, handle, tally, problem)
        problem = damage_in(lake, table, files)
        return Standing(problem) if problem else Standing(files=files)


def _by_content(lake: Lake, spec: ModelSpec, table: str, handle: DeltaTable, tally: Tally, problem: str) -> Standing:
    """Compares the rows: with those of the committed files where these are still there, else with the manifest."""
    day = tally.manifest.score_date
    try:
        rows = lake.read(table, where={"score_date": day}, version=handle)
    except IntegrityError as error:
        return Standing(error.found)
    before = _digest_of(lake, table, handle, tally.files)
    fits = _fits if before is None else lambda *_: digest(rows, _compared(handle)) == before
    if not fits(spec, tally.manifest, rows):
        return Standing(problem or "its rows are not those of the manifest")
    return Standing(files=described(lake, table, lake.files(table, day=day, version=handle)))


def _compared(handle: DeltaTable) -> list[str]:
    partitions = handle.metadata().partition_columns
    return [field.name for field in handle.schema().fields if field.name not in partitions]


def _digest_of(lake: Lake, table: str, handle: DeltaTable, files: Sequence[CommittedFile]) -> RowDigest | None:
    """The digest of the rows of committed files; None where one is not there as it was committed."""
    if not files or damage_in(lake, table, files):
        return None
    schema = pa.schema(handle.schema().to_arrow()).remove_metadata()
    wanted = pa.schema([schema.field(name) for name in _compared(handle)])
    parts = [pa.Table.from_batches([], wanted)]
    for file in files:
        filesystem, inner = filesystem_of(f"{lake.uri(table)}/{file.path}", lake.options)
        with pq.ParquetFile(inner, filesystem=filesystem, page_checksum_verification=True) as opened:
            part = opened.read([name for name in wanted.names if name in opened.schema_arrow.names])
        columns = [
            part[field.name].cast(field.type)
            if field.name in part.column_names
            else pa.nulls(part.num_rows, field.type)
            for field in wanted
        ]
        parts.append(pa.table(columns, schema=wanted))
    return digest(pa.concat_tables(parts), wanted.names)


def _fits(spec: ModelSpec, manifest: Manifest, rows: pa.Table) -> bool:
    """True when rows have the keys, the models by role and the input that a manifest names."""
    if set(rows["input_version"].to_pylist()) - {manifest.input.version}:
        return False
    served = Counter(zip(rows["role"].to_pylist(), rows["model_version"].to_pylist(), strict=True))
    roles = [one for one in manifest.roles if one.rows]
    if roles and all(one.role is Role.SHADOW for one in roles):  # the shadow table: every shadow has every key
        parts = [keep(rows, {"model_version": one.version}) for one in roles]
    else:
        roles = [one for one in roles if one.role is not Role.SHADOW]
        parts = [rows]
    primary = manifest.primary
    wanted = {(one.role.value, one.version): one.rows for one in roles}
    return dict(served) == (wanted or {(primary.role.value, primary.version): manifest.rows}) and all(
        digest(part, spec.data.key).hex == manifest.key_digest for part in parts
    )
