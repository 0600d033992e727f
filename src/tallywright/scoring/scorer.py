"""The models of a day, loaded: a batch of input becomes batches of rows of the tables of scores, and is counted.

Every engine and every path goes through here, so what a row scores and what is known about it is the same everywhere.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tallywright.data.fingerprint import RowDigest, digest, digest_hashes, row_hashes
from tallywright.observability import log
from tallywright.packaging.buffers import number_array
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import Accumulator
from tallywright.records import Role
from tallywright.scoring.casting import Casting
from tallywright.scoring.constant import ConstantPredictor
from tallywright.scoring.one_row import constant
from tallywright.scoring.output_gate import problems_in
from tallywright.scoring.role_counts import CanaryCounts, RoleCounts
from tallywright.scoring.score_job import SCORES, JobConstant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tallywright.packaging.predictor import Prediction
    from tallywright.scoring.answers import AnyPredictor
    from tallywright.scoring.score_job import JobModel, ScoreJob


@dataclass(slots=True)
class Counts:
    """What adds up while rows are scored."""

    profile: Accumulator
    """Of the model that answers for the day."""
    keys: RowDigest = field(default_factory=RowDigest)
    """Digest of the key columns as they were READ; verification compares it with what was written."""
    problems: Counter[str] = field(default_factory=Counter)
    """What the output gate found in the rows of the scores table, and how often."""
    served: Counter[str] = field(default_factory=Counter)
    """Rows of the scores table by label, such as `canary:3`."""
    profiles: dict[str, Accumulator] = field(default_factory=dict)
    """Of every other model, by label."""
    canary: CanaryCounts = field(default_factory=CanaryCounts)
    shadow_problems: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Shadows that failed, by label: they are not asked again."""

    def roles(self) -> RoleCounts:
        """The counts by role, for a part's manifest."""
        return RoleCounts(
            served=dict(self.served),
            profiles={label: counted.profile().to_json() for label, counted in self.profiles.items()},
            canary=self.canary,
            failures=dict(self.failures),
            shadow_problems={label: dict(found) for label, found in self.shadow_problems.items()},
        )


@dataclass(frozen=True, slots=True)
class Voice:
    """One loaded model of a day, and a full batch of each of its provenance columns (smaller ones take a slice)."""

    label: str
    predictor: AnyPredictor
    constants: Mapping[str, pa.Array]


class Scorer:
    """Scores batches of one day, for one thread at a time (each thread takes a `clone`).

    Args:
        job: What the whole day has in common.
        predictors: By package digest, for this thread alone.
    """

    def __init__(self, job: ScoreJob, predictors: Mapping[str, Predictor]) -> None:
        self.job = job
        self._predictors = dict(predictors)
        self._lead = self._voice(job.lead)
        self._shadows = [self._voice(model) for model in job.shadows]
        canary = job.of_role(Role.CANARY)
        pair = (self._voice(canary), job.canary) if canary is not None and job.canary is not None else None
        fallback = self._voice(job.fallback) if job.fallback is not None else None
        voices = (self._lead, pair[0] if pair else None, fallback)
        self._voices = tuple(voice if voice is not None else self._lead for voice in voices)
        self._others = [*(voice for voice in voices[1:] if voice is not None), *self._shadows]
        self._casting = Casting(self._lead, pair, fallback, job.covers) if pair or fallback else None

    @classmethod
    def load(cls, job: ScoreJob) -> Scorer:
        """Loads and verifies the packages of the job's models.

        Raises:
            PackageError: A package is missing, altered, or does not fit this environment.
        """
        return cls(job, _loaded(job, {}))

    def for_job(self, job: ScoreJob) -> Scorer:
        """A scorer of another day; models that are loaded already are not loaded again.

        Raises:
            PackageError: As `load`.
        """
        return Scorer(job, _loaded(job, self._predictors))

    def clone(self) -> Scorer:
        """A scorer for another thread; it shares nothing that changes."""
        return Scorer(self.job, {digest: predictor.clone() for digest, predictor in self._predictors.items()})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output columns; floats among them hold no NaN in a part that passes the output gate."""
        return tuple(self._lead.predictor.output_schema.names)

    def counts(self) -> Counts:
        """Counters of no rows."""
        return Counts(
            profile=Accumulator(self._lead.predictor.definition),
            profiles={voice.label: Accumulator(voice.predictor.definition) for voice in self._others},
        )

    def score(self, batch: pa.RecordBatch, counts: Counts) -> pa.RecordBatch:
        """The batch as rows of the scores table (without its partition column), in the batch's order; counted.

        Raises:
            InputError: A column that a model needs is missing or mistyped.
            PackageError: The graph of the model that answers for the day fails, and no fallback covers that.
        """
        if self._casting is not None:
            return self._cast(self._casting, batch, counts)
        prediction = self._lead.predictor.predict(batch)
        counts.keys += digest(batch, self.job.key)
        counts.problems += problems_in(prediction.outputs)
        counts.served[self._lead.label] += batch.num_rows
        _profile(counts.profile, prediction)
        return self._rows(batch, prediction.outputs, self._slices(self._lead, batch.num_rows), self.job.part_schema)

    def score_roles(self, batch: pa.RecordBatch, counts: Counts) -> dict[str, pa.RecordBatch]:
        """The batch as rows of the scores table under `scores`, and of the table of shadows under each one's label.

        A shadow that fails is left out, from this batch on, and noted in the counts; it never raises.
        """
        rows = {SCORES: self.score(batch, counts)}
        for shadow in self._shadows:
            if shadow.label not in counts.failures:
                try:
                    rows[shadow.label] = self._shadow_rows(shadow, batch, counts)
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the champion's day
                    counts.failures[shadow.label] = f"{type(error).__name__}: {error}".splitlines()[0]
                    log.debug("%s fails: %s", shadow.label, error)
        return rows

    def _shadow_rows(self, shadow: Voice, batch: pa.RecordBatch, counts: Counts) -> pa.RecordBatch:
        prediction = shadow.predictor.predict(batch)
        counts.shadow_problems.setdefault(shadow.label, Counter()).update(problems_in(prediction.outputs))
        _profile(counts.profiles[shadow.label], prediction)
        schema = self.job.for_shadows().part_schema
        return self._rows(batch, prediction.outputs, self._slices(shadow, batch.num_rows), schema)

    def _cast(self, casting: Casting, batch: pa.RecordBatch, counts: Counts) -> pa.RecordBatch:
        hashes = row_hashes(batch, self.job.key)
        cast = casting.cast(batch, hashes, counts)
        counts.keys += digest_hashes(hashes)
        counts.problems += problems_in(cast.outputs)
        for voice, rows in zip(self._voices, np.bincount(cast.who, minlength=len(self._voices)), strict=True):
            if rows:
                counts.served[voice.label] += int(rows)
        return self._rows(batch, cast.outputs, self._chosen(cast.who), self.job.part_schema)

    def _chosen(self, who: NDArray[np.int8]) -> dict[str, pa.Array]:
        """The provenance columns of rows that have different models."""
        if not who.any():
            return self._slices(self._lead, who.size)
        places = number_array(who.astype(np.int64), pa.int64())
        return {
            name: pa.concat_arrays([voice.constants[name].slice(0, 1) for voice in self._voices]).take(places)
            for name in self._lead.constants
        }

    def _slices(self, voice: Voice, rows: int) -> dict[str, pa.Array]:
        return {name: values.slice(0, rows) for name, values in voice.constants.items()}

    def _rows(
        self, batch: pa.RecordBatch, outputs: pa.RecordBatch, constants: Mapping[str, pa.Array], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Key, outputs and provenance in the table's order, cast where the table's type is wider."""
        columns = []
        for column in schema:
            if column.name in constants:
                values = constants[column.name]
            elif column.name in self.job.key:
                values = batch.column(column.name)
            elif column.name in outputs.schema.names:
                values = outputs.column(column.name)
            else:
                values = pa.nulls(batch.num_rows, column.type)
            columns.append(values if values.type == column.type else values.cast(column.type))
        return pa.record_batch(columns, schema=schema)

    def _voice(self, model: JobModel | JobConstant) -> Voice:
        job = self.job
        predictor: AnyPredictor = (
            ConstantPredictor(model, threshold=job.threshold)
            if isinstance(model, JobConstant)
            else self._predictors[model.package_digest]
        )
        return Voice(model.label, predictor, _columns(model.constants, job))


def _loaded(job: ScoreJob, known: Mapping[str, Predictor]) -> dict[str, Predictor]:
    folders = {model.package_digest: Path(model.package) for model in job.models}
    return {
        wanted: known.get(wanted) or Predictor(load_package(folder, digest=wanted), threshold=job.threshold)
        for wanted, folder in folders.items()
    }


def _columns(constants: Mapping[str, Any], job: ScoreJob) -> dict[str, pa.Array]:
    kinds = {name: job.part_schema.field(name).type for name in constants}
    return {name: constant(value, kinds[name], job.batch_rows) for name, value in constants.items()}


def _profile(counted: Accumulator, prediction: Prediction) -> None:
    counted.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
