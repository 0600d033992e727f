"""The models of a day, loaded: a batch of input becomes a batch of rows of the scores table, and is counted.

Every engine and every path goes through here, so what a row scores and what is known about it is the same everywhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tallywright.data.fingerprint import RowDigest, digest
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import Accumulator
from tallywright.scoring.one_row import constant
from tallywright.scoring.output_gate import problems_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.scoring.score_job import ScoreJob


@dataclass(slots=True)
class Counts:
    """What adds up while rows are scored."""

    profile: Accumulator
    keys: RowDigest = field(default_factory=RowDigest)
    """Digest of the key columns as they were READ; verification compares it with what was written."""
    problems: Counter[str] = field(default_factory=Counter)
    """What the output gate found, and how often."""


class Scorer:
    """Scores batches of one day, for one thread at a time (each thread takes a `clone`).

    Args:
        job: What the whole day has in common.
        predictors: By package digest, for this thread alone.
    """

    def __init__(self, job: ScoreJob, predictors: Mapping[str, Predictor]) -> None:
        self.job = job
        self._predictors = dict(predictors)
        # A full batch of each provenance column; smaller batches take a slice of it.
        self._constants = {
            name: constant(value, job.part_schema.field(name).type, job.batch_rows)
            for name, value in job.champion.constants.items()
        }

    @classmethod
    def load(cls, job: ScoreJob) -> Scorer:
        """Loads and verifies the packages of the job's models.

        Raises:
            PackageError: A package is missing, altered, or does not fit this environment.
        """
        packages = {model.package_digest: Path(model.package) for model in job.models}
        return cls(
            job,
            {
                digest: Predictor(load_package(folder, digest=digest), threshold=job.threshold)
                for digest, folder in packages.items()
            },
        )

    def for_job(self, job: ScoreJob) -> Scorer:
        """A scorer of another day with the same models, which are not loaded again."""
        return Scorer(job, self._predictors)

    def clone(self) -> Scorer:
        """A scorer for another thread; it shares nothing that changes."""
        return Scorer(self.job, {digest: predictor.clone() for digest, predictor in self._predictors.items()})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output columns; floats among them hold no NaN in a part that passes the output gate."""
        return tuple(self._champion.output_schema.names)

    def counts(self) -> Counts:
        """Counters of no rows."""
        return Counts(profile=Accumulator(self._champion.package.definition))

    def score(self, batch: pa.RecordBatch, counts: Counts) -> pa.RecordBatch:
        """The batch as rows of the scores table (without its partition column), in the batch's order; counted.

        Raises:
            InputError: A column that a model needs is missing or mistyped.
        """
        prediction = self._champion.predict(batch)
        counts.keys += digest(batch, self.job.key)
        counts.problems += problems_in(prediction.outputs)
        counts.profile.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
        return self._rows(batch, prediction.outputs)

    @property
    def _champion(self) -> Predictor:
        return self._predictors[self.job.champion.package_digest]

    def _rows(self, batch: pa.RecordBatch, outputs: pa.RecordBatch) -> pa.RecordBatch:
        """Key, outputs and provenance in the table's order, cast where the table's type is wider."""
        columns = []
        for column in self.job.part_schema:
            if column.name in self._constants:
                values = self._constants[column.name].slice(0, batch.num_rows)
            elif column.name in self.job.key:
                values = batch.column(column.name)
            elif column.name in outputs.schema.names:
                values = outputs.column(column.name)
            else:
                values = pa.nulls(batch.num_rows, column.type)
            columns.append(values if values.type == column.type else values.cast(column.type))
        return pa.record_batch(columns, schema=self.job.part_schema)
