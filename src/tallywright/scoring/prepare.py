"""From a pinned input and a model to a job: which files, which columns, into which table; and the profile again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tallywright.data.delta.schema import arrow_schema
from tallywright.data.storage.options import travelling
from tallywright.errors import InputError, TallyError, did_you_mean
from tallywright.observability import log
from tallywright.records import Role
from tallywright.scoring.columns import PARTITION, scores_schema
from tallywright.scoring.commit.scores_table import open_scores, part_schema
from tallywright.scoring.job import JobConstant, JobModel, ScoreJob
from tallywright.scoring.roles.routing import canary_rule
from tallywright.scoring.worker.fragments import InputSplit, plan_splits
from tallywright.scoring.worker.kernel import read_fragment
from tallywright.scoring.worker.results import DaySums
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.records import InputVersion, ModelRef
    from tallywright.scoring.roles.eligibility import ModelSet
    from tallywright.spec.model import ModelSpec


def pinned_files(lake: Lake, pinned: InputVersion) -> tuple[tuple[InputSplit, ...], int]:
    """The splits of the pinned version of the day, and the bytes of its files."""
    files = lake.files(pinned.table, day=pinned.score_date, version=pinned.version)
    return plan_splits([file.path for file in files], options=lake.options), sum(file.size for file in files)


def job_for(spec: ModelSpec, lake: Lake, pinned: InputVersion, model_set: ModelSet) -> ScoreJob:
    """Everything a worker must know; creates the tables or adds columns to them where needed.

    Raises:
        InputError: The input table lacks a column that the model or the key needs.
        TableContractError: The scores table cannot take what this run writes.
    """
    columns = tuple(dict.fromkeys((*spec.data.key, *model_set.input_columns)))
    input_schema = columns_of(lake.look(pinned.table), pinned.table, columns)
    keys = [input_schema.field(name) for name in spec.data.key]
    wanted = scores_schema(keys, model_set.output_schema)
    table = open_scores(lake, spec, wanted)
    canary = model_set.of_role(Role.CANARY)
    share = spec.scoring.canary.share if spec.scoring.canary else 0.0
    return ScoreJob(
        table=lake.uri(spec.table("scores")),
        score_date=pinned.score_date,
        key=spec.data.key,
        input_schema=input_schema,
        part_schema=part_schema(table),
        models=tuple(
            _job_model(ref, model_set.packages[ref.digest], pinned) for ref in model_set.models if not ref.is_constant
        ),
        threshold=spec.scoring.threshold,
        batch_rows=spec.scoring.batch_rows,
        workers=spec.scoring.workers,
        options=travelling(lake.root, lake.options),
        canary=canary_rule(canary.name, canary.version, share) if canary is not None else None,
        covers=model_set.row_failures(spec),
        constant=_job_constant(spec, model_set, pinned),
        shadow_table=lake.uri(spec.table("shadow")),
        shadow_schema=_shadow_schema(lake, spec, wanted) if model_set.of_role(Role.SHADOW) else None,
    )


def _job_model(ref: ModelRef, package: Package, pinned: InputVersion) -> JobModel:
    return JobModel(
        role=ref.role,
        package=str(package.folder),
        package_digest=package.digest,
        constants=_provenance(ref, pinned),
    )


def _job_constant(spec: ModelSpec, model_set: ModelSet, pinned: InputVersion) -> JobConstant | None:
    ref = model_set.of_role(Role.FALLBACK)
    fallback = spec.scoring.fallback
    if ref is None or not ref.is_constant or fallback is None or fallback.constant is None:
        return None
    return JobConstant(score=fallback.constant, task=spec.training.task, constants=_provenance(ref, pinned))


def _provenance(ref: ModelRef, pinned: InputVersion) -> dict[str, str | int]:
    return {
        "model_name": ref.name,
        "model_version": ref.version,
        "role": ref.role.value,
        "input_version": pinned.version,
    }


def _shadow_schema(lake: Lake, spec: ModelSpec, wanted: pa.Schema) -> pa.Schema | None:
    """The schema of the parts of shadows; None where their table cannot be used, which costs them alone."""
    try:
        return part_schema(open_scores(lake, spec, wanted, what="shadow"))
    except TallyError as error:
        log.warning("no shadow scores: %s", error)
        return None


def profile_again(job: ScoreJob, splits: tuple[InputSplit, ...], packages: Mapping[str, Package]) -> DaySums:
    """Counts a day from its input, writing nothing: exact integers, so the very same profiles."""
    scorer = Scorer.load(job, packages)
    counts = scorer.counts()
    for split in splits:
        for fragment in split.fragments:
            for batch in read_fragment(job, fragment):
                scorer.score_roles(batch, counts)
    sums = DaySums(counts.profile.profile())
    sums.add(counts.roles())
    return sums


def columns_of(table: DeltaTable, name: str, columns: tuple[str, ...]) -> pa.Schema:
    """The schema of these columns of an input table, as it declares them.

    Raises:
        InputError: It lacks one of them.
    """
    schema = arrow_schema(table)
    readable = [column for column in schema.names if column != PARTITION]
    missing = [column for column in columns if column not in readable]
    if missing:
        named = ", ".join(f"{column}{did_you_mean(column, readable)}" for column in missing)
        raise InputError(
            f"{name} has no column {named}",
            expected=f"the model's columns and the key: {', '.join(columns)}",
            remedy="bring the column back in data.columns and the features SQL, or train a model without it",
        )
    return pa.schema([schema.field(column) for column in columns])
