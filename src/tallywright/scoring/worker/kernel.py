"""The kernel: scores one split into one staged part for the scores, one for each shadow, and a small manifest.

Every engine runs exactly this, on whatever worker it likes: rows go from Parquet through Arrow and the Predictor to
Parquet and never cross a process boundary. Memory is bounded by a batch and a row group of the output.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from tallywright.data.delta.damage import damage_of
from tallywright.data.delta.files import delta_statistics
from tallywright.data.delta.footers import footer_at
from tallywright.data.fingerprint import RowDigest
from tallywright.data.storage.filesystem import filesystem_of, is_disk
from tallywright.data.storage.store_errors import cause_of
from tallywright.errors import InputError, StorageError
from tallywright.observability import failpoint
from tallywright.profiles.profile import Profile
from tallywright.records import Record
from tallywright.score_period import table_of_path
from tallywright.scoring.job import PROVENANCE, SCORES
from tallywright.scoring.roles.role_model import CanaryCounts, RoleCounts
from tallywright.scoring.worker.fragments import discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tallywright.data.delta.footers import Footer
    from tallywright.data.fingerprint import Hashes
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.roles.role_model import ScoringCounts
    from tallywright.scoring.worker.fragments import Fragment, InputSplit
    from tallywright.scoring.worker.scorer import Scorer

ROW_GROUP_ROWS: Final = 262_144
_DISK_BUFFER: Final = 1 << 16
_STORE_BUFFER: Final = 1 << 20
"""Bytes of a column that are read at once; each read of an object store is a request."""


def threads_for(wanted: int, pieces: int) -> int:
    """The number of threads: as asked for, or one for each core of this process; at most one for each piece of work."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(wanted or cores, pieces))


class PartManifest(Record):
    """The manifest of one staged part, which a worker returns."""

    split: int
    path: str
    """Relative to its table, which is the scores table (for a shadow's part, the table of shadows)."""
    size: int
    rows: int
    statistics: str
    """The `stats` text of the part's add action."""
    keys: RowDigest
    problems: dict[str, int]
    profile_json: str
    roles: RoleCounts = RoleCounts()
    footer: str = ""
    """The sha256 of its Parquet footer."""
    shadows: dict[str, PartManifest] = Field(default_factory=dict)
    """The parts of the shadows that scored all of the split, by label."""


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """The counts of a piece of a day whose rows the engine keeps itself."""

    read: RowDigest
    """Of the keys as they were read."""
    hashes: Hashes
    """Of the keys as they will be written, one a row."""
    problems: Mapping[str, int]
    profile_json: str
    roles: RoleCounts = field(default_factory=RoleCounts)


@dataclass(slots=True)
class DaySums:
    """The counts of all splits of a day."""

    profile: Profile
    """Of the model that answers for the day."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    canary: CanaryCounts = field(default_factory=CanaryCounts)
    failures: dict[str, str] = field(default_factory=dict)
    shadow_problems: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, pieces: Sequence[PartManifest | PieceCounts]) -> DaySums:
        """The sums over the pieces of a day, in any order."""
        first, *others = [Profile.from_json(piece.profile_json) for piece in pieces]
        sums = cls(sum(others, start=first))
        for piece in pieces:
            sums.add(piece.roles)
        return sums

    def add(self, counts: RoleCounts) -> None:
        """Adds the counts of one split."""
        self.served.update(counts.served)
        self.canary += counts.canary
        for label, text in counts.profiles.items():
            profile = Profile.from_json(text)
            self.profiles[label] = self.profiles[label] + profile if label in self.profiles else profile
        for label, failure in counts.failures.items():
            self.failures[label] = min(failure, self.failures.get(label, failure))
        for label, problems in counts.shadow_problems.items():
            self.shadow_problems.setdefault(label, Counter()).update(problems)


def score_split(job: ScoreJob, scorer: Scorer, split: InputSplit, advance: Callable[[int], None]) -> PartManifest:
    """Scores one split into new, uniquely named parts that no Delta reader sees until they are committed.

    Args:
        job: What the whole day has in common.
        scorer: For this thread alone.
        split: What to score.
        advance: Called after each batch with its rows; what it raises ends the work.

    Raises:
        StorageError: The input cannot be read or the part cannot be written; nothing is left behind.
        InputError: The data themselves cannot be used.
        EngineError: The machine has no memory for a batch.
    """
    staging = _Staging(job, split)
    try:
        return _score_into(scorer, split, advance, staging)
    except MemoryError as error:
        staging.abandon()
        raise job.no_memory() from error
    except OSError as error:
        staging.abandon()
        raise StorageError(
            f"scoring {job.score_date} failed on storage: {cause_of(error)}",
            expected=f"readable input and room to write below {job.table}",
            remedy="check permissions and free space; the table is unchanged, run it again",
        ) from error
    except pa.ArrowException as error:
        staging.abandon()
        raise InputError(
            f"scoring {job.score_date} failed on its data: {error}",
            expected=f"whole Parquet files whose columns fit {job.part_schema.names}",
            remedy="ingest the day again",
        ) from error
    except BaseException:
        staging.abandon()
        raise


def read_fragment(job: ScoreJob, fragment: Fragment) -> Iterator[pa.RecordBatch]:
    """The batches of one fragment with the columns of `job.input_schema`, texts as dictionaries; pages are checked.

    Raises:
        IntegrityError: The file is gone, or a page of it is not what was written.
    """
    batches, rows = _read_batches(job, fragment), 0
    while True:
        with damage_of(*table_of_path(fragment.path)):
            batch = next(batches, None)
            if batch is None and rows != fragment.rows:
                raise pa.ArrowInvalid(f"its pages have {rows} of {fragment.rows} rows")
        if batch is None:
            return
        rows += batch.num_rows
        yield batch


def _read_batches(job: ScoreJob, fragment: Fragment) -> Iterator[pa.RecordBatch]:
    filesystem, inner = filesystem_of(fragment.path, job.options)
    texts = [column.name for column in job.input_schema if _is_text(column.type) and column.name not in job.key]
    with pq.ParquetFile(
        inner,
        filesystem=filesystem,
        read_dictionary=texts,
        buffer_size=_DISK_BUFFER if is_disk(fragment.path) else _STORE_BUFFER,
        pre_buffer=False,
        page_checksum_verification=True,
    ) as file:
        present = set(file.schema_arrow.names)
        complete = present.issuperset(job.input_schema.names)
        batches = file.iter_batches(
            batch_size=job.batch_rows,
            row_groups=list(range(fragment.first, fragment.last)),
            columns=[name for name in job.input_schema.names if name in present],
            use_threads=False,
        )
        for batch in batches:
            for column in batch.columns:
                if pa.types.is_dictionary(column.type):
                    _require_dictionary(column)
            yield batch if complete else _with_missing(batch, job.input_schema)


def _require_dictionary(column: pa.DictionaryArray) -> None:
    """A damaged header of a page, which no checksum covers, can leave values without their dictionary."""
    last = pc.max(column.indices).as_py()
    if last is not None and last >= len(column.dictionary):
        raise pa.ArrowInvalid("its pages have values without a dictionary")


def _score_into(scorer: Scorer, split: InputSplit, advance: Callable[[int], None], staging: _Staging) -> PartManifest:
    counts = scorer.counts()
    for fragment in split.fragments:
        for batch in read_fragment(staging.job, fragment):
            for label, rows in scorer.score_roles(batch, counts).items():
                staging.add(label, rows)
            failpoint("scoring")
            advance(batch.num_rows)
    for label in counts.failures:
        staging.drop(label)
    manifest = _manifest(split, scorer, counts, staging)
    failpoint("scored")
    return manifest


def _manifest(split: InputSplit, scorer: Scorer, counts: ScoringCounts, staging: _Staging) -> PartManifest:
    roles = counts.roles()
    shadows = {
        label: staging.finish(label, split, counts, scorer).model_copy(
            update={
                "problems": roles.shadow_problems.get(label, {}),
                "profile_json": roles.profiles[label],
            }
        )
        for label in staging.shadows
    }
    return staging.finish(SCORES, split, counts, scorer).model_copy(update={"roles": roles, "shadows": shadows})


class _Staging:
    """The parts of one split: of the scores table, and one for each shadow."""

    def __init__(self, job: ScoreJob, split: InputSplit) -> None:
        self.job = job
        # A split can be tried twice, by two workers at once: each has its own file.
        self._name = f"{job.partition}/part-{split.index:05d}-{job.run}-{uuid.uuid4().hex[:16]}.parquet"
        self._files: dict[str, _PartFile] = {}

    @property
    def shadows(self) -> list[str]:
        return [label for label in self._files if label != SCORES]

    def add(self, label: str, rows: pa.RecordBatch) -> None:
        if label not in self._files:
            self._files[label] = self._new(label)
            self._files[label].open()
        self._files[label].add(rows)

    def drop(self, label: str) -> None:
        if label in self._files:
            file = self._files.pop(label)
            file.cancel()
            discard([file.target], self.job.options)

    def finish(self, label: str, split: InputSplit, counts: ScoringCounts, scorer: Scorer) -> PartManifest:
        file = self._files[label]
        file.close()
        footer = file.footer()
        return PartManifest(
            split=split.index,
            path=file.path,
            size=footer.size,
            rows=footer.metadata.num_rows,
            footer=footer.digest,
            statistics=delta_statistics(footer.metadata, file.schema, finite=scorer.outputs),
            keys=counts.keys,
            problems=dict(counts.problems),
            profile_json=counts.profile.profile().to_json(),
        )

    def abandon(self) -> None:
        for label in list(self._files):
            self.drop(label)

    def _new(self, label: str) -> _PartFile:
        if label == SCORES:
            return _PartFile(self.job, self._name)
        # One file a shadow: one that fails is taken away without the others.
        name = self._name.replace("part-", f"part-{label.replace(':', '-')}-", 1)
        return _PartFile(self.job.for_shadows(), name)


class _PartFile:
    """One staged file; scored batches wait until they fill a row group."""

    def __init__(self, job: ScoreJob, path: str) -> None:
        self.path = path
        self.schema = job.part_schema
        self.target = str(PurePosixPath(job.table) / path) if is_disk(job.table) else f"{job.table}/{path}"
        self._filesystem, self._inner = filesystem_of(self.target, job.options)
        self._writer: pq.ParquetWriter | None = None
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def open(self) -> None:
        if is_disk(self.target):  # an object store has no folders
            self._filesystem.create_dir(str(PurePosixPath(self._inner).parent), recursive=True)
        self._writer = pq.ParquetWriter(
            self._inner,
            self.schema,
            filesystem=self._filesystem,
            use_dictionary=[*PROVENANCE.names, "prediction"],
            store_schema=False,
            write_page_checksum=True,
        )

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def cancel(self) -> None:
        """Closes the file, which is deleted next, so that failing writes are ignored."""
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()

    def footer(self) -> Footer:
        return footer_at(self._filesystem, self._inner)

    def _flush(self) -> None:
        if self._batches and self._writer is not None:
            self._writer.write_table(pa.Table.from_batches(self._batches), row_group_size=ROW_GROUP_ROWS * 2)
            self._batches = []
            self._rows = 0


def _with_missing(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    present = set(batch.schema.names)
    columns = {
        field.name: batch.column(field.name) if field.name in present else pa.nulls(batch.num_rows, field.type)
        for field in schema
    }
    return pa.RecordBatch.from_pydict(columns)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
