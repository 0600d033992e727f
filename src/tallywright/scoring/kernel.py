"""The kernel: one portion of the input becomes one staged part and a small manifest about it.

Every engine runs exactly this, on whatever worker it likes: rows go from Parquet through Arrow and the Predictor to
Parquet and never cross a process boundary. Memory is bounded by a batch and a row group of the output.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tallywright.data.fingerprint import RowDigest, digest
from tallywright.errors import InputError, StorageError
from tallywright.profiles.accumulate import Accumulator
from tallywright.records import Record
from tallywright.scoring.files import discard, filesystem_of
from tallywright.scoring.one_row import constant
from tallywright.scoring.output_gate import problems_in
from tallywright.scoring.statistics import delta_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date

    from tallywright.packaging.predictor import Predictor
    from tallywright.scoring.fragments import Fragment, Portion

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
    """Digest of the key columns as they were READ; verification compares it with what was written."""
    problems: dict[str, int]
    """What the output gate found, and how often."""
    profile_json: str


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """All that a worker must know to score a portion; pickles, and names files by absolute address."""

    table: str
    """Folder of the scores table."""
    score_date: date
    key: tuple[str, ...]
    input_schema: pa.Schema
    """Key and model columns as the input table declares them; a file older than a column gives nulls."""
    part_schema: pa.Schema
    """The scores table's schema without its partition column."""
    constants: Mapping[str, str | int]
    """The provenance columns, equal in every row."""
    package: str
    """Folder of the verified package, for workers that must load it themselves."""
    package_digest: str
    threshold: float
    batch_rows: int
    workers: int = 0

    @property
    def partition(self) -> str:
        """The folder of the day inside the table."""
        return f"score_date={self.score_date.isoformat()}"


@dataclass(slots=True)
class _Gathered:
    """What adds up while a portion is scored."""

    profile: Accumulator
    constants: dict[str, pa.Array]
    """The provenance columns of a full batch."""
    rows: int = 0
    keys: RowDigest | None = None
    problems: Counter[str] = field(default_factory=Counter)
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0


def score_portion(
    job: ScoreJob, predictor: Predictor, portion: Portion, advance: Callable[[int], None]
) -> PartManifest:
    """Scores one portion into a new, uniquely named part that no Delta reader sees until it is committed.

    Args:
        job: What the whole day has in common.
        predictor: For this thread alone.
        portion: What to score.
        advance: Called after each batch with its rows; what it raises ends the work.

    Raises:
        StorageError: The input cannot be read or the part cannot be written; nothing is left behind.
        InputError: The data themselves cannot be used.
    """
    name = f"{job.partition}/part-{portion.index:05d}-{uuid.uuid4()}.parquet"
    target = str(PurePosixPath(job.table) / name) if "://" not in job.table else f"{job.table}/{name}"
    try:
        return _score_into(job, predictor, portion, advance, name=name, target=target)
    except OSError as error:
        discard([target])
        raise StorageError(
            f"scoring {job.score_date} failed on storage: {error}",
            expected=f"readable input and room to write below {job.table}",
            remedy="check permissions and free space; the table is unchanged, run it again",
        ) from error
    except pa.ArrowException as error:
        discard([target])
        raise InputError(
            f"scoring {job.score_date} failed on its data: {error}",
            expected=f"whole Parquet files whose columns fit {job.part_schema.names}",
            remedy="ingest the day again",
        ) from error
    except BaseException:
        discard([target])
        raise


def read_fragment(job: ScoreJob, fragment: Fragment) -> Iterator[pa.RecordBatch]:
    """The batches of one fragment with the columns of `job.input_schema`, texts as dictionaries."""
    filesystem, inner = filesystem_of(fragment.path)
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
    job: ScoreJob, predictor: Predictor, portion: Portion, advance: Callable[[int], None], *, name: str, target: str
) -> PartManifest:
    filesystem, inner = filesystem_of(target)
    filesystem.create_dir(str(PurePosixPath(inner).parent), recursive=True)
    gathered = _Gathered(
        profile=Accumulator(predictor.package.definition),
        constants={
            name: constant(value, job.part_schema.field(name).type, job.batch_rows)
            for name, value in job.constants.items()
        },
    )
    with pq.ParquetWriter(
        inner,
        job.part_schema,
        filesystem=filesystem,
        use_dictionary=[*job.constants, "prediction"],
        store_schema=False,
    ) as writer:
        for fragment in portion.fragments:
            for batch in read_fragment(job, fragment):
                _score_batch(job, predictor, batch, gathered)
                if gathered.waiting_rows >= ROW_GROUP_ROWS:
                    _flush(writer, gathered)
                advance(batch.num_rows)
        _flush(writer, gathered)
    size = filesystem.get_file_info(inner).size
    footer = pq.read_metadata(inner, filesystem=filesystem)
    return PartManifest(
        portion=portion.index,
        path=name,
        size=size,
        rows=footer.num_rows,
        statistics=delta_statistics(footer, job.part_schema, finite=predictor.output_schema.names),
        keys=gathered.keys or digest(job.input_schema.empty_table(), job.key),
        problems=dict(gathered.problems),
        profile_json=gathered.profile.profile().to_json(),
    )


def _score_batch(job: ScoreJob, predictor: Predictor, batch: pa.RecordBatch, gathered: _Gathered) -> None:
    prediction = predictor.predict(batch)
    keys = digest(batch, job.key)
    gathered.keys = keys if gathered.keys is None else gathered.keys + keys
    gathered.problems += problems_in(prediction.outputs)
    gathered.profile.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
    gathered.waiting.append(_as_part(job, batch, prediction.outputs, gathered.constants))
    gathered.waiting_rows += batch.num_rows
    gathered.rows += batch.num_rows


def _as_part(
    job: ScoreJob, batch: pa.RecordBatch, outputs: pa.RecordBatch, constants: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """The batch as rows of the scores table, cast where the table's type is wider."""
    columns = []
    for column in job.part_schema:
        if column.name in constants:
            values = constants[column.name].slice(0, batch.num_rows)
        elif column.name in job.key:
            values = batch.column(column.name)
        elif column.name in outputs.schema.names:
            values = outputs.column(column.name)
        else:
            values = pa.nulls(batch.num_rows, column.type)
        columns.append(values if values.type == column.type else values.cast(column.type))
    return pa.record_batch(columns, schema=job.part_schema)


def _flush(writer: pq.ParquetWriter, gathered: _Gathered) -> None:
    if gathered.waiting:
        writer.write_table(pa.Table.from_batches(gathered.waiting), row_group_size=ROW_GROUP_ROWS * 2)
        gathered.waiting = []
        gathered.waiting_rows = 0


def _with_missing(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    present = set(batch.schema.names)
    columns = {
        field.name: batch.column(field.name) if field.name in present else pa.nulls(batch.num_rows, field.type)
        for field in schema
    }
    return pa.RecordBatch.from_pydict(columns)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
