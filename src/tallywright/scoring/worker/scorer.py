"""The scorer: the loaded models of a day, which turn batches of input into rows of the score tables, and count them.

Every engine and every path goes through here, so what a row scores and what is known about it is the same everywhere.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tallywright.buffers import number_array
from tallywright.data.delta.rows import constant
from tallywright.data.fingerprint import digest, digest_hashes, row_hashes
from tallywright.observability import log
from tallywright.packaging.package import load_package
from tallywright.packaging.predictor import Predictor
from tallywright.profiles.accumulate import Accumulator
from tallywright.records import Role
from tallywright.scoring.job import SCORES, JobConstant
from tallywright.scoring.roles.constant import ConstantPredictor
from tallywright.scoring.roles.role_model import RoleModel, ScoringCounts, problems_in
from tallywright.scoring.roles.routing import Router

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tallywright.packaging.package import Package
    from tallywright.packaging.predictor import Prediction
    from tallywright.scoring.job import JobModel, ScoreJob
    from tallywright.scoring.roles.role_model import AnyPredictor


class Scorer:
    """Scores batches of one day, for one thread at a time (each thread takes a `clone`).

    Args:
        job: What the whole day has in common.
        predictors: By package digest, for this thread alone.
    """

    def __init__(self, job: ScoreJob, predictors: Mapping[str, Predictor]) -> None:
        self.job = job
        self._predictors = dict(predictors)
        self._primary = self._role_model(job.primary)
        self._shadows = [self._role_model(model) for model in job.shadows]
        canary = job.of_role(Role.CANARY)
        pair = (self._role_model(canary), job.canary) if canary is not None and job.canary is not None else None
        fallback = self._role_model(job.fallback) if job.fallback is not None else None
        role_models = (self._primary, pair[0] if pair else None, fallback)
        self._role_models = tuple(role_model if role_model is not None else self._primary for role_model in role_models)
        self._others = [*(role_model for role_model in role_models[1:] if role_model is not None), *self._shadows]
        self._router = Router(self._primary, pair, fallback, job.covers, job.limit) if pair or fallback else None

    @classmethod
    def load(cls, job: ScoreJob, packages: Mapping[str, Package] | None = None) -> Scorer:
        """Loads and verifies the packages of the job's models.

        Args:
            job: What the whole day has in common.
            packages: By digest, those that this very process has verified before.

        Raises:
            PackageError: A package is missing, altered, or does not fit this environment.
        """
        return cls(job, _loaded(job, {}, packages or {}))

    def for_job(self, job: ScoreJob) -> Scorer:
        """A scorer for another job, which reuses the loaded models.

        Raises:
            PackageError: As `load`.
        """
        return Scorer(job, _loaded(job, self._predictors, {}))

    def clone(self) -> Scorer:
        """A scorer for another thread; it shares nothing that changes."""
        return Scorer(self.job, {digest: predictor.clone() for digest, predictor in self._predictors.items()})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output columns; floats among them hold no NaN in a part that passes the output gate."""
        return tuple(self._primary.predictor.output_schema.names)

    def counts(self) -> ScoringCounts:
        """Counters at zero."""
        return ScoringCounts(
            profile=Accumulator(self._primary.predictor.definition),
            profiles={role_model.label: Accumulator(role_model.predictor.definition) for role_model in self._others},
        )

    def score(self, batch: pa.RecordBatch, counts: ScoringCounts) -> pa.RecordBatch:
        """Scores and counts a batch; returns its rows for the scores table (without partition column), in order.

        Raises:
            InputError: A column that a model needs is missing or mistyped.
            PackageError: The graph of the model that answers for the day fails, and no fallback covers that.
        """
        if self._router is not None:
            return self._route(self._router, batch, counts)
        prediction = self._primary.predictor.predict(batch)
        counts.keys += digest(batch, self.job.key)
        counts.problems += problems_in(prediction.outputs)
        counts.served[self._primary.label] += batch.num_rows
        _profile(counts.profile, prediction)
        return self._rows(batch, prediction.outputs, self._slices(self._primary, batch.num_rows), self.job.part_schema)

    def score_roles(self, batch: pa.RecordBatch, counts: ScoringCounts) -> dict[str, pa.RecordBatch]:
        """Scores and counts a batch; returns rows of the scores table (`scores`) and of the shadow table (by label).

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

    def _shadow_rows(self, shadow: RoleModel, batch: pa.RecordBatch, counts: ScoringCounts) -> pa.RecordBatch:
        prediction = shadow.predictor.predict(batch)
        counts.shadow_problems.setdefault(shadow.label, Counter()).update(problems_in(prediction.outputs))
        _profile(counts.profiles[shadow.label], prediction)
        schema = self.job.for_shadows().part_schema
        return self._rows(batch, prediction.outputs, self._slices(shadow, batch.num_rows), schema)

    def _route(self, router: Router, batch: pa.RecordBatch, counts: ScoringCounts) -> pa.RecordBatch:
        hashes = row_hashes(batch, self.job.key)
        routed = router.route(batch, hashes, counts)
        counts.keys += digest_hashes(hashes)
        counts.problems += problems_in(routed.outputs)
        for role_model, rows in zip(
            self._role_models, np.bincount(routed.who, minlength=len(self._role_models)), strict=True
        ):
            if rows:
                counts.served[role_model.label] += int(rows)
        return self._rows(batch, routed.outputs, self._chosen(routed.who), self.job.part_schema)

    def _chosen(self, who: NDArray[np.int8]) -> dict[str, pa.Array]:
        """The provenance columns of rows that have different models."""
        if not who.any():
            return self._slices(self._primary, who.size)
        places = number_array(who.astype(np.int64), pa.int64())
        return {
            name: pa.concat_arrays([role_model.constants[name].slice(0, 1) for role_model in self._role_models]).take(
                places
            )
            for name in self._primary.constants
        }

    def _slices(self, role_model: RoleModel, rows: int) -> dict[str, pa.Array]:
        return {name: values.slice(0, rows) for name, values in role_model.constants.items()}

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

    def _role_model(self, model: JobModel | JobConstant) -> RoleModel:
        job = self.job
        predictor: AnyPredictor = (
            ConstantPredictor(model, threshold=job.threshold)
            if isinstance(model, JobConstant)
            else self._predictors[model.package_digest]
        )
        return RoleModel(model.label, predictor, _columns(model.constants, job))


def _loaded(job: ScoreJob, known: Mapping[str, Predictor], packages: Mapping[str, Package]) -> dict[str, Predictor]:
    def loaded(digest: str, folder: str) -> Predictor:
        package = packages.get(digest)
        if package is None or not package.untouched:
            package = load_package(Path(folder), digest=digest)
        return Predictor(package, threshold=job.threshold)

    folders = {model.package_digest: model.package for model in job.models}
    return {wanted: known.get(wanted) or loaded(wanted, folder) for wanted, folder in folders.items()}


def _columns(constants: Mapping[str, Any], job: ScoreJob) -> dict[str, pa.Array]:
    kinds = {name: job.part_schema.field(name).type for name in constants}
    try:
        return {name: constant(value, kinds[name], job.batch_rows) for name, value in constants.items()}
    except MemoryError as error:
        raise job.no_memory() from error


def _profile(counted: Accumulator, prediction: Prediction) -> None:
    counted.update(prediction.inputs.numeric, prediction.inputs.categorical, prediction.scores)
