"""Checks before the commit: the staged parts hold every row of the pinned input once, in the schema of the table.

The keys are read back from the staged files, so what is compared with the input is what readers will get.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tallywright.data.fingerprint import RowDigest, digest_hashes, repeated, row_hashes
from tallywright.data.keys import key_text
from tallywright.data.storage.filesystem import filesystem_of
from tallywright.errors import GateRefusedError, InputError, StorageError, TableContractError
from tallywright.scoring.worker.fragments import sizes_of
from tallywright.scoring.worker.kernel import threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tallywright.data.fingerprint import Hashes
    from tallywright.records import InputVersion
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import PartManifest, PieceCounts

_SHOWN: Final = 5
_KEY_BATCH: Final = 131_072
_RANGES: Final = 32


def verify_rows(
    job: ScoreJob,
    pinned: InputVersion,
    counted: Sequence[PieceCounts],
    keys_with: Callable[[Hashes], Iterable[pa.RecordBatch]],
) -> RowDigest:
    """Checks the rows of an engine that commits them itself, and returns the digest of the keys.

    Args:
        job: What was scored.
        pinned: The input.
        counted: What was counted of each piece; together the pieces are the day.
        keys_with: The key columns of the rows whose key has one of these hashes.

    Raises:
        GateRefusedError: The output gate found values that must not be served.
        InputError: Rows lost or repeated, or a key that occurs twice.
    """
    check_rows(pinned, counted)
    check_outputs(job, _problems(counted))
    read = sum((piece.read for piece in counted), start=RowDigest())
    return _check_hashes(job, read, [piece.hashes for piece in counted], keys_with)


def check_rows(pinned: InputVersion, counted: Sequence[PieceCounts]) -> None:
    """Checks that an engine scored as many rows as were ingested.

    Raises:
        InputError: Rows lost or repeated.
    """
    found = sum(len(piece.hashes) for piece in counted)
    if found != pinned.rows:
        raise InputError(
            f"{pinned.score_date}: {found} rows of version {pinned.version} of {pinned.table} were scored",
            expected=f"{pinned.rows} rows, as recorded by ingest",
            remedy="ingest the day again",
        )


def verify_parts(
    job: ScoreJob, pinned: InputVersion, splits: Sequence[InputSplit], parts: Sequence[PartManifest]
) -> RowDigest:
    """Checks staged parts before their commit, and returns the digest of the keys.

    Raises:
        GateRefusedError: The output gate found values that must not be served.
        InputError: Rows lost or repeated, or a key that occurs twice.
        StorageError: A part is missing or has another size than its worker reported.
        TableContractError: A part does not have exactly the table's schema, or invalid statistics.
    """
    check_cover(pinned, splits, parts)
    check_outputs(job, _problems(parts))
    check_sizes(job, parts)
    for part in parts:
        _check_footer(job, part, part_path(job, part))
    return _check_keys(job, parts)


def check_cover(pinned: InputVersion, splits: Sequence[InputSplit], parts: Sequence[PartManifest]) -> None:
    """Checks that every split has its part, and all parts together the rows of the day.

    Raises:
        InputError: Rows lost or repeated.
    """
    wanted = {split.index: split.rows for split in splits}
    made = Counter({part.split: 0 for part in parts})
    for part in parts:
        made[part.split] += part.rows
    if len(parts) != len(splits) or dict(made) != wanted:
        wrong = sorted(index for index in wanted.keys() | made.keys() if wanted.get(index) != made.get(index))
        raise InputError(
            f"{pinned.score_date}: {len(parts)} parts with {sum(made.values())} rows were staged, wrong are {wrong}",
            expected=f"{len(splits)} parts with {sum(wanted.values())} rows, one for each split",
            remedy="run it again; if it happens twice, report it as a defect of the engine",
        )
    if sum(wanted.values()) != pinned.rows:
        raise InputError(
            f"{pinned.score_date}: version {pinned.version} of {pinned.table} has {sum(wanted.values())} rows",
            expected=f"{pinned.rows} rows, as recorded by ingest",
            remedy="ingest the day again",
        )


def _problems(pieces: Sequence[PartManifest | PieceCounts]) -> Counter[str]:
    problems: Counter[str] = Counter()
    for piece in pieces:
        problems.update(piece.problems)
    return problems


def check_outputs(job: ScoreJob, problems: Mapping[str, int]) -> None:
    """Refuses a day with values that must not be served.

    Raises:
        GateRefusedError: There are any; says which, and how often.
    """
    if problems:
        listed = ", ".join(f"{what} in {count} rows" for what, count in sorted(problems.items()))
        raise GateRefusedError(
            f"the output gate refuses the scores of {job.score_date}: {listed}",
            expected="every output present and finite, probabilities between 0 and 1",
            remedy="look at the day's features (infinities?) and at the model; the table is unchanged",
        )


def check_sizes(job: ScoreJob, parts: Sequence[PartManifest]) -> None:
    """Checks that every staged part is there.

    Raises:
        StorageError: A part is missing or has another size than its worker reported.
    """
    paths = {part_path(job, part): part for part in parts}
    for path, size in sizes_of(paths, job.options).items():
        part = paths[path]
        if size != part.size:
            raise StorageError(
                f"the staged part {part.path} has {size if size is not None else 'no'} bytes",
                expected=f"{part.size} bytes, as its worker reported",
                remedy="run it again",
            )


def _check_footer(job: ScoreJob, part: PartManifest, path: str) -> None:
    filesystem, inner = filesystem_of(path, job.options)
    try:
        footer = pq.read_metadata(inner, filesystem=filesystem)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"the staged part {part.path} cannot be read: {error}", remedy="run it again") from error
    found = footer.schema.to_arrow_schema().remove_metadata()
    if not _same_columns(found, job.part_schema):
        raise TableContractError(
            f"the staged part {part.path} has the columns {_shown(found)}",
            expected=f"exactly the table's: {_shown(job.part_schema)}",
            remedy="report it as a defect: the part was not committed",
        )
    statistics = json.loads(part.statistics, parse_constant=_refuse_constant)
    bounded = {*statistics["minValues"], *statistics["maxValues"], *statistics["nullCount"]}
    if footer.num_rows != part.rows or statistics["numRecords"] != part.rows or bounded - set(found.names):
        raise TableContractError(
            f"the staged part {part.path} has {footer.num_rows} rows, its statistics say {statistics['numRecords']}",
            expected=f"{part.rows} rows and statistics of its own columns",
            remedy="report it as a defect: the part was not committed",
        )


def _same_columns(found: pa.Schema, wanted: pa.Schema) -> bool:
    """True for equal names, order and types; how Parquet names the items of a list does not count."""
    return found.names == wanted.names and all(
        a.type == b.type or (pa.types.is_list(a.type) and pa.types.is_list(b.type) and _items(a) == _items(b))
        for a, b in zip(found, wanted, strict=True)
    )


def _items(field: pa.Field) -> pa.DataType:
    return field.type.value_type


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _refuse_constant(name: str) -> float:
    raise TableContractError(f"a part's statistics contain {name}", expected="finite numbers only")


def _check_keys(job: ScoreJob, parts: Sequence[PartManifest]) -> RowDigest:
    read = sum((part.keys for part in parts), start=RowDigest())
    with ThreadPoolExecutor(max_workers=threads_for(job.workers, len(parts))) as pool:
        hashed = list(pool.map(lambda part: _hashes_of(job, part), parts))

    def rows_with(suspects: Hashes) -> Iterator[pa.RecordBatch]:
        for part in parts:
            for batch in _key_batches(job, part):
                yield rows_of_keys(batch, job.key, suspects)

    return _check_hashes(job, read, hashed, rows_with)


def rows_of_keys(batch: pa.RecordBatch, key: Sequence[str], hashes: Hashes) -> pa.RecordBatch:
    """Selects the key columns of the rows whose key has one of these hashes."""
    chosen = np.flatnonzero(np.isin(row_hashes(batch, key), hashes))
    return pc.take(batch.select(list(key)), pa.array(chosen))


def _check_hashes(
    job: ScoreJob,
    read: RowDigest,
    hashed: list[Hashes],
    rows_with: Callable[[Hashes], Iterable[pa.RecordBatch]],
) -> RowDigest:
    with ThreadPoolExecutor(max_workers=threads_for(job.workers, len(hashed))) as pool:
        written = sum(pool.map(digest_hashes, hashed), start=RowDigest())
        list(pool.map(np.ndarray.sort, hashed))
        suspects = np.concatenate(list(pool.map(_repeated_in, _ranges(hashed))))
    if read != written:
        raise InputError(
            f"{job.score_date}: the keys that were written differ from the keys that were read",
            expected=f"{read.rows} rows with key digest {read.hex}, found {written.rows} with {written.hex}",
            remedy="run it again; if it happens twice, report it as a defect",
        )
    if suspects.size:
        _refuse_duplicates(job, rows_with(suspects))
    return written


def _ranges(runs: Sequence[Hashes]) -> Iterator[list[Hashes]]:
    """Cuts sorted runs at equal ranges of hashes, each small enough for the processor's cache."""
    edges = np.array([(place << 64) // _RANGES for place in range(1, _RANGES)], dtype=np.uint64)
    cuts = [[0, *np.searchsorted(run, edges), run.size] for run in runs]
    for place in range(_RANGES):
        yield [run[cut[place] : cut[place + 1]] for run, cut in zip(runs, cuts, strict=True)]


def _repeated_in(pieces: Sequence[Hashes]) -> Hashes:
    """The hashes that occur more than once in the pieces of a range."""
    ordered = np.concatenate(pieces)
    # A stable sort would merge the sorted pieces, and takes three times as long as numpy's vectorised quicksort.
    ordered.sort()
    return repeated(ordered)


def _hashes_of(job: ScoreJob, part: PartManifest) -> Hashes:
    hashes = np.empty(part.rows, dtype=np.uint64)
    start = 0
    for batch in _key_batches(job, part):
        hashes[start : start + batch.num_rows] = row_hashes(batch, job.key)
        start += batch.num_rows
    return hashes


def _refuse_duplicates(job: ScoreJob, batches: Iterable[pa.RecordBatch]) -> None:
    """Compares the keys behind equal hashes exactly, and refuses the day when keys are equal."""
    seen: Counter[tuple[object, ...]] = Counter()
    for batch in batches:
        seen.update(tuple(row[name] for name in job.key) for row in batch.to_pylist())
    duplicates = [key for key, times in seen.items() if times > 1]
    if duplicates:
        raise InputError(
            f"{job.score_date}: {len(duplicates)} keys occur more than once, such as "
            + "; ".join(map(key_text, duplicates[:_SHOWN])),
            expected=f"each {' + '.join(job.key)} once a day",
            remedy="correct the features SQL or the key, and ingest the day again",
        )


def _key_batches(job: ScoreJob, part: PartManifest) -> Iterator[pa.RecordBatch]:
    filesystem, inner = filesystem_of(part_path(job, part), job.options)
    with pq.ParquetFile(inner, filesystem=filesystem, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=_KEY_BATCH, columns=list(job.key), use_threads=False):
            yield batch.select(list(job.key))


def staged_paths(job: ScoreJob, parts: Iterable[PartManifest]) -> Iterator[str]:
    """The absolute addresses of all that was staged: the parts, and those of the shadows."""
    for part in parts:
        yield part_path(job, part)
        yield from (part_path(job.for_shadows(), shadow) for shadow in part.shadows.values())


def part_path(job: ScoreJob, part: PartManifest) -> str:
    """The absolute address of a staged part."""
    return f"{job.table.rstrip('/')}/{part.path}"
