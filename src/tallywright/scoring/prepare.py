"""Prepares scoring: from a request and its pinned input to the job; also the records of decision and outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pydantic import Field

from tallywright.data.delta.damage import damaged
from tallywright.data.delta.schema import arrow_schema
from tallywright.data.delta.table import Table
from tallywright.data.inputs.files import stored_digest
from tallywright.data.inputs.versions import INPUTS
from tallywright.data.storage.options import with_process_options
from tallywright.data.types import period_schema
from tallywright.errors import InputError, TallyError, did_you_mean
from tallywright.observability import log
from tallywright.records import InputVersion, Manifest, ModelRef, Record, Role, VersionOrigin
from tallywright.scoring.commit.manifests import Tally
from tallywright.scoring.commit.profile_table import ProfileRow
from tallywright.scoring.commit.scores_table import open_scores, part_schema
from tallywright.scoring.identity import Basis
from tallywright.scoring.job import FallbackLimit, JobConstant, JobModel, ScoreJob, scores_schema
from tallywright.scoring.roles.eligibility import Candidates, missing_package
from tallywright.scoring.roles.routing import canary_rule
from tallywright.scoring.worker.fragments import InputSplit, plan_splits
from tallywright.scoring.worker.kernel import DaySums, read_fragment
from tallywright.scoring.worker.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from deltalake import DeltaTable

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.scoring.engines.base import Engines
    from tallywright.scoring.roles.eligibility import ModelSet
    from tallywright.spec.environment import EngineSettings
    from tallywright.spec.model import ModelSpec


def _stored_sequence(manifest: Manifest) -> int | None:
    return manifest.promotion_sequence


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One day to be scored: the pinned input, the models by role (the champion first), their packages by digest."""

    spec: ModelSpec
    lake: Lake
    input: InputVersion
    models: tuple[ModelRef, ...]
    packages: Mapping[str, Package]
    run_id: str
    code_version: str
    engine: str = "local"
    engines: Engines | None = None
    """Engines that were started before and go on afterwards; without them the day starts and ends its own."""
    engine_settings: EngineSettings | None = None
    force: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    """Digest of a package that is not among `packages`, and why."""
    passed_over: frozenset[int] = frozenset()
    """The withdrawn versions, where one of them would be champion of the day, had it not been withdrawn."""
    promotion_sequence: int | None = None
    """The position of the promotion log at which the models were resolved; None where nobody asked the log."""
    sequence_behind: Callable[[Manifest], int | None] = _stored_sequence
    """That position for a tally, also for one of the time when manifests did not carry it."""
    withdrawn_since: Callable[[], str] = str
    """Says which of the models was withdrawn after they were resolved; empty where none was."""
    override: str = ""
    """Why it is to be committed although what stands may be newer; only with `force`."""
    origins: tuple[VersionOrigin, ...] = ()
    """The numbers of the models in the registry that they came from; none where that is this one."""

    @property
    def basis(self) -> Basis:
        """What orders this request among the tallies of its date."""
        return Basis.of(self.input, self.promotion_sequence)

    @property
    def champion(self) -> ModelRef:
        """The model whose scores the table holds."""
        return self.models[0]

    @property
    def candidates(self) -> Candidates:
        """The models that are candidates to score the day."""
        return Candidates(self.spec, self.lake, self.input, self.models, self.packages, self.missing)

    def package_of(self, ref: ModelRef) -> Package:
        """The package of one of the models.

        Raises:
            PackageError: It is not at hand.
        """
        package = self.packages.get(ref.digest)
        if package is None:
            raise missing_package(ref, self.missing.get(ref.digest, ""))
        return package


class TallyDecision(Record):
    """The decision of a scoring run about a day: action and reason."""

    action: Literal["score", "no-op"]
    reason: str
    generation: int
    standing: Tally | None = None


class ScoreOutcome(Record):
    """The outcome of a scoring run; `unchanged` when the same inputs were scored already."""

    action: Literal["committed", "unchanged"]
    version: int
    manifest: Manifest
    profile_row: ProfileRow | None = Field(default=None, exclude=True)
    """Of the model that answers for the day."""


def check_volume(lake: Lake, spec: ModelSpec, pinned: InputVersion) -> None:
    """Refuses an empty day, and one with far fewer rows than the median of the days before it.

    Raises:
        InputError: The day is empty, or below `data.min_rows_share` of the usual.
    """
    if pinned.rows == 0:
        raise InputError(
            f"{spec.name} has no input rows for {pinned.score_date}",
            expected="at least one row; a green task without rows would hide a broken source",
            remedy="check the raw files of the day and ingest it again",
        )
    earlier = _earlier_rows(lake, spec, pinned.score_date)
    if not earlier:
        return
    usual = median(earlier)
    least = spec.data.min_rows_share * usual
    if pinned.rows < least:
        raise InputError(
            f"{spec.name} has {pinned.rows} input rows for {pinned.score_date}, {pinned.rows / usual:.1%} of the usual",
            expected=f"at least {least:.0f}: {spec.data.min_rows_share:.0%} of {usual:.0f}, "
            f"the median of {len(earlier)} earlier days",
            remedy="check the raw files and ingest again; for a day that is really this small, "
            "--set data.min_rows_share=0",
        )


def check_content(lake: Lake, spec: ModelSpec, pinned: InputVersion) -> None:
    """Compares the content of a day with its fingerprint where its files have no checksums that the pass could check.

    Raises:
        IntegrityError: The rows are not those that were ingested.
    """
    if all(file.checksums for file in pinned.files):
        return
    found = stored_digest(lake, spec, pinned.score_date, lake.look(pinned.table))
    if found.hex != pinned.fingerprint:
        raise damaged(lake.uri(pinned.table), "", "they are not those that were ingested", pinned.score_date)


def pinned_files(lake: Lake, pinned: InputVersion) -> tuple[tuple[InputSplit, ...], int]:
    """The splits of the day, and the bytes of its files: those of its record, else those of the pinned version.

    Raises:
        IntegrityError: A file is gone, or another one than was committed.
    """
    if pinned.files:
        committed = {f"{lake.uri(pinned.table)}/{file.path}": file for file in pinned.files}
        splits = plan_splits(list(committed), options=lake.options, committed=committed)
        return splits, sum(file.size for file in pinned.files)
    files = lake.files(pinned.table, day=pinned.score_date, version=pinned.version)
    return plan_splits([file.path for file in files], options=lake.options), sum(file.size for file in files)


def job_for(spec: ModelSpec, lake: Lake, pinned: InputVersion, model_set: ModelSet) -> ScoreJob:
    """Makes the job of a day; creates the tables or adds columns to them where needed.

    Raises:
        InputError: The input table lacks a column that the model or the key needs.
        TableContractError: The scores table cannot take what this run writes.
    """
    columns = tuple(dict.fromkeys((*spec.data.key, *model_set.input_columns)))
    input_schema = columns_of(lake.look(pinned.table), pinned.table, columns)
    keys = [input_schema.field(name) for name in spec.data.key]
    wanted = scores_schema(keys, period_schema(spec), model_set.output_schema)
    table = open_scores(lake, spec, wanted)
    canary = model_set.of_role(Role.CANARY)
    rule = spec.scoring.canary
    share, strict = (rule.share, not rule.limits.max_problem_share) if rule is not None else (0.0, False)
    covers, fallback = model_set.row_failures(spec), spec.scoring.fallback
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
        options=with_process_options(lake.root, lake.options),
        canary=canary_rule(canary.name, canary.version, share, strict=strict) if canary is not None else None,
        covers=covers,
        limit=FallbackLimit.of(fallback.max_share, pinned.rows, pinned.score_date) if covers and fallback else None,
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
    """The schema of shadow parts; None where the shadow table cannot be used, which affects only the shadows."""
    try:
        return part_schema(open_scores(lake, spec, wanted, what="shadow"))
    except TallyError as error:
        log.warning("no shadow scores: %s", error)
        return None


def recount(job: ScoreJob, splits: tuple[InputSplit, ...], packages: Mapping[str, Package]) -> DaySums:
    """Counts a day again from its input without writing; counts are integers, so the profiles are the same."""
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
    readable = [column for column in schema.names if column not in table.metadata().partition_columns]
    missing = [column for column in columns if column not in readable]
    if missing:
        named = ", ".join(f"{column}{did_you_mean(column, readable)}" for column in missing)
        raise InputError(
            f"{name} has no column {named}",
            expected=f"the model's columns and the key: {', '.join(columns)}",
            remedy="bring the column back in data.columns and the features SQL, or train a model without it",
        )
    return pa.schema([schema.field(column) for column in columns])


def _earlier_rows(lake: Lake, spec: ModelSpec, day: date) -> list[int]:
    """The latest row counts of the periods just before, as ingest recorded them."""
    calendar = spec.schedule.calendar
    since = calendar.first_of(calendar.previous(day), spec.data.usual_rows)
    latest: dict[date, tuple[int, int]] = {}
    for row in Table(INPUTS, lake, spec).rows(columns=["score_date", "version", "rows"]):
        if since <= row["score_date"] < day:
            latest[row["score_date"]] = max(latest.get(row["score_date"], (-1, 0)), (row["version"], row["rows"]))
    return [rows for _, rows in latest.values() if rows]
