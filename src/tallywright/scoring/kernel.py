"""The kernel: one portion of the input becomes one staged part and a small manifest about it.

Every engine runs exactly this, on whatever worker it likes: rows go from Parquet through Arrow and the Predictor to
Parquet and never cross a process boundary. Memory is bounded by a batch and a row group of the output.
"""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tallywright.data.filesystem import filesystem_of
from tallywright.data.fingerprint import RowDigest
from tallywright.data.statistics import delta_statistics
from tallywright.data.store_errors import cause_of
from tallywright.errors import InputError, StorageError
from tallywright.observability import point
from tallywright.records import Record
from tallywright.scoring.files import discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallywright.scoring.fragments import Fragment, Portion
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.scoring.scorer import Counts, Scorer

ROW_GROUP_ROWS: Final = 262_144
_READ_BUFFER: Final = 1 << 20


class PartManifest(Record):
    """What a worker hands back about one staged part."""

    portion: int
    path: str
    """Relative to the scores table."""
    size: int
    rows: int
    statistics: str
    """The `stats` text of the part's add action."""
    keys: RowDigest
    problems: dict[str, int]
    profile_json: str


def score_portion(job: ScoreJob, scorer: Scorer, portion: Portion, advance: Callable[[int], None]) -> PartManifest:
    """Scores one portion into a new, uniquely named part that no Delta reader sees until it is committed.

    Args:
        job: What the whole day has in common.
        scorer: For this thread alone.
        portion: What to score.
        advance: Called after each batch with its rows; what it raises ends the work.

    Raises:
        StorageError: The input cannot be read or the part cannot be written; nothing is left behind.
        InputError: The data themselves cannot be used.
    """
    name = f"{job.partition}/part-{portion.index:05d}-{uuid.uuid4()}.parquet"
    target = str(PurePosixPath(job.table) / name) if "://" not in job.table else f"{job.table}/{name}"
    try:
        return _score_into(job, scorer, portion, advance, name=name, target=target)
    except OSError as error:
        discard([target], job.options)
        raise StorageError(
            f"scoring {job.score_date} failed on storage: {cause_of(error)}",
            expected=f"readable input and room to write below {job.table}",
            remedy="check permissions and free space; the table is unchanged, run it again",
        ) from error
    except pa.ArrowException as error:
        discard([target], job.options)
        raise InputError(
            f"scoring {job.score_date} failed on its data: {error}",
            expected=f"whole Parquet files whose columns fit {job.part_schema.names}",
            remedy="ingest the day again",
        ) from error
    except BaseException:
        discard([target], job.options)
        raise


def read_fragment(job: ScoreJob, fragment: Fragment) -> Iterator[pa.RecordBatch]:
    """The batches of one fragment with the columns of `job.input_schema`, texts as dictionaries."""
    filesystem, inner = filesystem_of(fragment.path, job.options)
    texts = [column.name for column in job.input_schema if _is_text(column.type) and column.name not in job.key]
    with pq.ParquetFile(
        inner, filesystem=filesystem, read_dictionary=texts, buffer_size=_READ_BUFFER, pre_buffer=False
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
            yield batch if complete else _with_missing(batch, job.input_schema)


def _score_into(
    job: ScoreJob, scorer: Scorer, portion: Portion, advance: Callable[[int], None], *, name: str, target: str
) -> PartManifest:
    filesystem, inner = filesystem_of(target, job.options)
    if "://" not in target:  # an object store has no folders
        filesystem.create_dir(str(PurePosixPath(inner).parent), recursive=True)
    counts = scorer.counts()
    with pq.ParquetWriter(
        inner,
        job.part_schema,
        filesystem=filesystem,
        use_dictionary=[*job.champion.constants, "prediction"],
        store_schema=False,
    ) as writer:
        waiting = _Waiting(writer)
        for fragment in portion.fragments:
            for batch in read_fragment(job, fragment):
                waiting.add(scorer.score(batch, counts))
                point("scoring")
                advance(batch.num_rows)
        waiting.flush()
    size = filesystem.get_file_info(inner).size
    footer = pq.read_metadata(inner, filesystem=filesystem)
    point("scored")
    return _manifest(portion, scorer, counts, name, size, footer)


def _manifest(
    portion: Portion, scorer: Scorer, counts: Counts, name: str, size: int, footer: pq.FileMetaData
) -> PartManifest:
    return PartManifest(
        portion=portion.index,
        path=name,
        size=size,
        rows=footer.num_rows,
        statistics=delta_statistics(footer, scorer.job.part_schema, finite=scorer.outputs),
        keys=counts.keys,
        problems=dict(counts.problems),
        profile_json=counts.profile.profile().to_json(),
    )


class _Waiting:
    """Scored batches that wait until they fill a row group."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._batches:
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
