"""From a pinned input and a model to a job: which files, which columns, into which table; and the profile again."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import pyarrow as pa

from tallywright.errors import InputError
from tallywright.scoring.fragments import Portion, plan_portions
from tallywright.scoring.kernel import read_fragment
from tallywright.scoring.score_job import JobModel, ScoreJob
from tallywright.scoring.scorer import Scorer
from tallywright.scoring.scores_table import PARTITION, arrow_schema, open_scores, part_schema, scores_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from tallywright.data.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.profiles.profile import Profile
    from tallywright.records import InputVersion, ModelRef
    from tallywright.spec.model import ModelSpec


def pinned_files(lake: Lake, pinned: InputVersion) -> tuple[tuple[Portion, ...], int]:
    """The portions of the pinned version of the day, and the bytes of its files."""
    files = lake.files(pinned.table, day=pinned.score_date, version=pinned.version)
    return plan_portions([file.path for file in files], options=lake.options), sum(file.size for file in files)


def job_for(spec: ModelSpec, lake: Lake, pinned: InputVersion, ref: ModelRef, package: Package) -> ScoreJob:
    """Everything a worker must know; creates the scores table or adds columns to it where needed.

    Raises:
        InputError: The input table lacks a column that the model or the key needs.
        TableContractError: The scores table cannot take what this run writes.
    """
    columns = tuple(dict.fromkeys((*spec.data.key, *package.preprocess.columns)))
    input_schema = _input_schema(lake.open(pinned.table), pinned.table, columns)
    keys = [input_schema.field(name) for name in spec.data.key]
    table = open_scores(lake, spec, scores_schema(keys, package.output_schema))
    return ScoreJob(
        table=lake.uri(spec.table("scores")),
        score_date=pinned.score_date,
        key=spec.data.key,
        input_schema=input_schema,
        part_schema=part_schema(table),
        models=(_job_model(ref, package, pinned),),
        threshold=spec.scoring.threshold,
        batch_rows=spec.scoring.batch_rows,
        workers=spec.scoring.workers,
        options=lake.options,
    )


def _job_model(ref: ModelRef, package: Package, pinned: InputVersion) -> JobModel:
    return JobModel(
        role=ref.role,
        package=str(package.folder),
        package_digest=package.digest,
        constants={
            "model_name": ref.name,
            "model_version": ref.version,
            "role": ref.role.value,
            "input_version": pinned.version,
        },
    )


def profile_again(job: ScoreJob, portions: tuple[Portion, ...]) -> Profile:
    """Counts a day's profile from its input, writing nothing: exact integers, so the very same profile."""
    scorer = Scorer.load(job)
    counts = scorer.counts()
    for portion in portions:
        for fragment in portion.fragments:
            for batch in read_fragment(job, fragment):
                scorer.score(batch, counts)
    return counts.profile.profile()


def _input_schema(table: DeltaTable, name: str, columns: tuple[str, ...]) -> pa.Schema:
    schema = arrow_schema(table)
    missing = [column for column in columns if column not in schema.names or column == PARTITION]
    if missing:
        close = difflib.get_close_matches(missing[0], schema.names, n=1)
        hint = f"; {missing[0]} may be {close[0]} now" if close else ""
        raise InputError(
            f"{name} has no column {', '.join(missing)}{hint}",
            expected=f"the model's columns and the key: {', '.join(columns)}",
            remedy="bring the column back in data.columns and the features SQL, or train a model without it",
        )
    return pa.schema([schema.field(column) for column in columns])
