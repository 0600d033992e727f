"""`io: engine` on executors: batches of Spark's are scored and packed, a row each, and unpacked again for its writer.

Packed rows cross between Python and the JVM as bytes, which costs next to nothing; the counts of a partition are a row
beside them. So both can be cached, the counts are results of a job (exact however often a task ran), and a commit that
lost a race is repeated without scoring again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from pydantic import Field

from tallywright import __version__
from tallywright.buffers import string_array
from tallywright.data.fingerprint import Hashes, RowDigest, row_hashes
from tallywright.errors import TallyError
from tallywright.observability import failpoint
from tallywright.records import Record
from tallywright.scoring.commit.verify import rows_of_keys
from tallywright.scoring.engines.spark.worker import Attempts, TaskResult, scorer_for
from tallywright.scoring.job import SCORES
from tallywright.scoring.roles.role_model import RoleCounts
from tallywright.scoring.worker.failure import Failure
from tallywright.scoring.worker.kernel import PieceCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tallywright.scoring.job import ScoreJob

SCHEMA: Final = "rows binary, label string, counts string, hashes binary"
_NAMES: Final = ["rows", "label", "counts", "hashes"]


class PackedCounts(Record):
    """The counts of a partition as they travel in a packed row, without the hashes of its keys."""

    rows: int = 0
    read: RowDigest = RowDigest()
    problems: dict[str, int] = Field(default_factory=dict)
    profile_json: str = ""
    roles: RoleCounts = RoleCounts()
    failure: Failure | None = None

    def with_hashes(self, hashes: bytes) -> PieceCounts:
        """All counts of the partition; the hashes are a copy, which verification may sort where they are."""
        found = np.frombuffer(hashes, dtype=np.uint64).copy()
        return PieceCounts(self.read, found, self.problems, self.profile_json, self.roles)


@dataclass(frozen=True, slots=True)
class PackTask:
    """Scores the batches of one partition of the input."""

    job: ScoreJob
    attempts: Attempts
    results: Any
    version: str = __version__

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The packed rows of each batch, then the counts of them all; the counts alone if they failed."""
        try:
            yield from self._packed(batches)
        except TallyError as error:
            if self.attempts.another(error):
                raise
            failure = Failure.of(error)
            self._add(TaskResult(failure=failure))
            yield _row(counts=PackedCounts(failure=failure).to_json())

    def _packed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = scorer_for(self.job, self.version)
        counts = scorer.counts()
        hashes: list[Hashes] = []
        for batch in batches:
            if batch.num_rows:
                tables = scorer.score_roles(_fitted(batch, self.job.input_schema), counts)
                hashes.append(row_hashes(tables[SCORES], self.job.key))
                failpoint("scoring")
                for label, rows in tables.items():
                    yield _row(rows=_packed_rows(rows), label=label)
        counted = PackedCounts(
            rows=counts.keys.rows,
            read=counts.keys,
            problems=dict(counts.problems),
            profile_json=counts.profile.profile().to_json(),
            roles=counts.roles(),
        )
        failpoint("scored")
        self._add(TaskResult(rows=counted.rows))
        yield _row(counts=counted.to_json(), hashes=np.concatenate(hashes) if hashes else np.empty(0, dtype=np.uint64))

    def _add(self, result: TaskResult) -> None:
        from pyspark import TaskContext

        context = TaskContext.get()
        self.results.add({context.partitionId() if context else 0: result.to_json()})


def unpacked(packed: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Unpacks the scored rows from batches whose first column is `rows`."""
    for batch in packed:
        for place in range(batch.num_rows):
            with pa.ipc.open_stream(batch.column(0)[place].as_buffer()) as stream:
                yield from stream


@dataclass(frozen=True, slots=True)
class KeysTask:
    """The key columns of the rows whose key has one of these hashes."""

    key: Sequence[str]
    hashes: Hashes

    def __call__(self, packed: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The keys, a batch for each packed one."""
        for rows in unpacked(packed):
            yield rows_of_keys(rows, self.key, self.hashes)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of the input table, which Spark may call by other names."""
    columns = [
        batch.column(field.name) if batch.schema.field(field.name).type == field.type
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]  # fmt: skip
    return pa.record_batch(columns, schema=schema)


def _packed_rows(rows: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(rows)
    return sink.getvalue()


def _row(
    *, rows: pa.Buffer | None = None, label: str | None = None, counts: str | None = None, hashes: Hashes | None = None
) -> pa.RecordBatch:
    columns = [
        _binary(rows),
        _text(label),
        _text(counts),
        _binary(None if hashes is None else pa.py_buffer(hashes)),
    ]
    return pa.record_batch(columns, names=_NAMES)


def _text(value: str | None) -> pa.Array:
    return pa.nulls(1, pa.string()) if value is None else string_array([value]).cast(pa.string())


def _binary(value: pa.Buffer | None) -> pa.Array:
    """From buffers: pyarrow's own conversions import pandas where it is installed."""
    if value is None:
        return pa.nulls(1, pa.binary())
    offsets = pa.py_buffer(np.array([0, value.size], dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), 1, [None, offsets, value])
