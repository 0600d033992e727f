"""Scores a day into one tally: decide, stage, verify, commit once, then write the rows of the other tables.

A kill at any instant leaves the old tally or the new one; running it again finishes what is missing. The profile's rows
are about the tally as it was committed: its models, its input, its scoring section, whatever the spec says today.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tallywright.errors import PackageError
from tallywright.observability import failpoint, log
from tallywright.packaging.package import Package
from tallywright.records import ModelRef, Role
from tallywright.scoring.commit.manifests import Tally, latest_tally, record_tally, require_tally
from tallywright.scoring.commit.profile_table import profile_digest, read_profiles, row_of, write_profiles
from tallywright.scoring.commit.scores_table import generation_in
from tallywright.scoring.commit.standing import files_at_commit, standing_of
from tallywright.scoring.engines.base import EngineChoice, Engines, choose_engine
from tallywright.scoring.execution import DayExecution, execute
from tallywright.scoring.identity import (
    DAMAGED,
    FIRST,
    FORCED,
    LOST,
    MODEL,
    WITHDRAWN,
    Basis,
    champion_stands,
    outdated,
    reason_for,
)
from tallywright.scoring.job import label_of
from tallywright.scoring.prepare import (
    ScoreOutcome,
    ScoreRequest,
    TallyDecision,
    check_content,
    check_volume,
    job_for,
    pinned_files,
    recount,
)
from tallywright.scoring.roles.eligibility import (
    ModelSet,
    as_trained,
    assemble,
    check_leak,
    covers_package,
    eligible,
    with_threshold,
)
from tallywright.spec.sections import Scoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.profiles.profile import Profile
    from tallywright.records import Manifest
    from tallywright.scoring.commit.profile_table import ProfileRow
    from tallywright.scoring.execution import Progress
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import DaySums
    from tallywright.spec.model import ModelSpec

PackageSource = Callable[[ModelRef], Package]
"""Gives the verified package of a version, or raises a PackageError."""


def decide(request: ScoreRequest) -> TallyDecision:
    """Compares the request with the latest tally of the day; changes nothing.

    Raises:
        CommitConflictError: What stands was made from a newer input, or resolved at a later promotion.
    """
    spec, lake, day = request.spec, request.lake, request.input.score_date
    table = lake.find(spec.table("scores"))
    generation = generation_in(table, spec, day) if table is not None else 0
    if not generation:
        return TallyDecision(action="score", reason=WITHDRAWN if request.passed_over else FIRST, generation=1)
    tally = latest_tally(lake, spec, day, table=table)
    if tally is None:
        return TallyDecision(action="score", reason=LOST, generation=generation + 1)
    reason = reason_for(tally.manifest, request.input.fingerprint, request.models, spec.scoring.identity())
    if tally.manifest.primary.version in request.passed_over:
        reason = "+".join(WITHDRAWN if code == MODEL else code for code in reason.split("+"))
    if not reason and not request.force:
        stands = standing_of(lake, spec, tally)
        if not stands.problem:
            same = tally.held_by(stands.files)
            return TallyDecision(action="no-op", reason="same inputs", generation=generation, standing=same)
        log.warning("%s is scored again: %s", day, stands.problem)
        reason = DAMAGED
    _require_newest(request, tally.manifest)
    return TallyDecision(action="score", reason=reason or FORCED, generation=generation + 1, standing=tally)


def _require_newest(request: ScoreRequest, standing: Manifest) -> None:
    """Refuses a request that is older than what stands, in input version or promotion sequence."""
    theirs = Basis.of(standing.input, request.sequence_behind(standing))
    if request.override or not request.basis.older_than(theirs):
        return
    table = request.input.table
    if request.lake.look(table).version() < standing.input.version:
        # The input table was made anew, so versions of the old one order nothing.
        theirs = replace(theirs, input_version=request.input.version)
        if not request.basis.older_than(theirs):
            return
    raise outdated(request.input, request.basis, standing.generation, theirs)


def needs_packages(request: ScoreRequest) -> bool:
    """False when nothing has changed and every row of the tally's profile stands.

    Raises:
        CommitConflictError: As `decide`.
    """
    decision = decide(replace(request, models=eligible(request.spec, request.models, request.input.score_date)))
    if decision.standing is None or decision.action != "no-op":
        return True
    manifest = decision.standing.manifest
    return read_profiles(request.lake, request.spec, manifest).keys() != _profile_digests(manifest)


def score_day(request: ScoreRequest, *, progress: Progress | None = None) -> ScoreOutcome:
    """Scores the day unless its latest tally has the same inputs, and completes the tally's rows in other tables.

    Raises:
        TallyError: Anything that refuses or fails; the scores table is then as it was.
    """
    resolved = replace(request, models=eligible(request.spec, request.models, request.input.score_date))
    decision = decide(resolved)
    if decision.standing is not None and decision.action == "no-op":
        return _finish(resolved, decision.standing, action="unchanged", sums=None)
    found = _assembled(request, decision.standing)
    if found is None and decision.standing is not None:
        return _finish(resolved, decision.standing, action="unchanged", sums=None)
    assert found is not None  # noqa: S101 - without packages only a tally that stands is an answer
    request, model_set = found
    if (request.models, request.spec) != (resolved.models, resolved.spec):
        decision = decide(request)
    if decision.standing is not None and decision.action == "no-op":
        return _finish(request, decision.standing, action="unchanged", sums=None)
    check_volume(request.lake, request.spec, request.input)
    check_content(request.lake, request.spec, request.input)
    leak = check_leak(request.spec, as_trained(request.models, request.packages), request.input.score_date)
    splits, choice = _plan(request)
    job = job_for(request.spec, request.lake, request.input, model_set)
    failpoint("staging")
    log.info("scoring %s with %s (%s)", request.input.score_date, choice.name, choice.why)
    execution = DayExecution(request, model_set, decision, splits, choice.name, leak, progress)
    own = Engines(request.engine_settings) if request.engines is None else nullcontext(request.engines)
    with own as engines:
        result, sums = execute(execution, engines.get(choice.name), job)
    failpoint("committed")
    return _finish(
        request,
        result.tally,
        action="committed" if result.ours else "unchanged",
        sums=sums,
    )


def _assembled(request: ScoreRequest, standing: Tally | None) -> tuple[ScoreRequest, ModelSet] | None:
    """The request with its packages, and the models that score; None where a fallback has nothing to add.

    A fallback scores only what has no tally by this champion of this content.

    Raises:
        TallyError: The champion's package is not to be had, and nothing makes that good.
    """
    champion = request.champion
    stands = (
        standing is not None
        and covers_package(request.spec)
        and not request.override
        and champion_stands(standing.manifest, request.input.fingerprint, champion.version)
    )
    try:
        model_set = assemble(request.candidates)
    except PackageError as error:
        if not stands:
            raise
        log.warning("%s stays as the champion scored it: %s", request.input.score_date, error.found)
        return None
    if stands and model_set.models[0].role is Role.FALLBACK:
        log.warning("%s stays as the champion scored it; the fallback is not needed", request.input.score_date)
        return None
    spec = with_threshold(request.spec, model_set)
    return replace(request, models=model_set.models, spec=spec), model_set


def _plan(request: ScoreRequest) -> tuple[tuple[InputSplit, ...], EngineChoice]:
    splits, size = pinned_files(request.lake, request.input)
    settings = request.engine_settings
    return splits, choose_engine(request.engine, size, settings.auto if settings else ())


def _finish(
    request: ScoreRequest, tally: Tally, *, action: Literal["committed", "unchanged"], sums: DaySums | None
) -> ScoreOutcome:
    """Writes what follows the commit, each row only where it is missing."""
    if not tally.files:
        tally = tally.held_by(files_at_commit(request.lake, request.spec, tally))
    if record_tally(request.lake, request.spec, tally):
        log.debug("recorded generation %d of %s", tally.manifest.generation, tally.manifest.score_date)
    failpoint("tallied")
    row = ensure_rows(request.lake, request.spec, tally.manifest, request.package_of, sums)
    failpoint("profiled")
    return ScoreOutcome(action=action, version=tally.version, manifest=tally.manifest, profile_row=row)


def ensure_profile(lake: Lake, spec: ModelSpec, day: date, packages: PackageSource) -> tuple[Tally, ProfileRow]:
    """The latest tally of a day with its primary model's profile row; missing profile rows are written.

    Raises:
        InputError: The day was never scored.
        PackageError: The rows must be counted again, and a package is not available.
    """
    tally = require_tally(lake, spec, day)
    return tally, ensure_rows(lake, spec, tally.manifest, packages)


def ensure_rows(
    lake: Lake, spec: ModelSpec, manifest: Manifest, packages: PackageSource, sums: DaySums | None = None
) -> ProfileRow:
    """The profile row of a tally's primary model; missing profile rows are counted again and written.

    Args:
        lake: Where the tables live.
        spec: Whose tally.
        manifest: Of the tally.
        packages: Asked only where the rows must be counted again.
        sums: What this run counted; None when it did not score.

    Raises:
        PackageError: The rows must be counted again, and a package is not available.
    """
    wanted = _profile_digests(manifest)
    rows = read_profiles(lake, spec, manifest)
    if rows.keys() != wanted:
        if sums is None or profile_digest(sums.profile) != manifest.profile_digest:
            sums = recount_tally(lake, spec, manifest, packages)
        made = list(_rows(manifest, sums))
        write_profiles(lake, spec, made)
        return made[0]
    return rows[manifest.profile_digest]


def _profile_digests(manifest: Manifest) -> set[str]:
    """The digests of the profile rows that a tally has."""
    return {manifest.profile_digest, *(one.profile_digest for one in manifest.roles if one.profile_digest)}


def recount_tally(lake: Lake, spec: ModelSpec, manifest: Manifest, packages: PackageSource) -> DaySums:
    """Counts a tally again from its pinned input and its models; counts are exact, so the profiles are the same.

    Raises:
        PackageError: A package is not to be had.
    """
    silent = {(one.role, one.version) for one in manifest.roles if one.note}
    models = tuple(ref for ref in manifest.models if (ref.role, ref.version) not in silent)
    found = {ref.digest: packages(ref) for ref in models if not ref.is_constant}
    committed = _as_committed(spec, manifest)
    job = job_for(committed, lake, manifest.input, ModelSet.of(models, found, committed))
    # The pinned version stays readable; the files that held its rows when it was scored may be gone.
    splits, _ = pinned_files(lake, manifest.input.model_copy(update={"files": ()}))
    return recount(job, splits, found)


def _as_committed(spec: ModelSpec, manifest: Manifest) -> ModelSpec:
    """The spec with the scoring section of the tally; today's section for tallies that have none."""
    if not manifest.scoring_json:
        return spec
    return spec.model_copy(update={"scoring": Scoring.model_validate_json(manifest.scoring_json)})


def _rows(manifest: Manifest, sums: DaySums) -> Iterator[ProfileRow]:
    """Yields the profile rows of the manifest's models, the primary's first."""
    primary = manifest.primary
    yield row_of(manifest, primary.role, primary.version, sums.profile)
    for one in manifest.roles:
        profile: Profile | None = sums.profiles.get(label_of(one.role, one.version))
        if profile is not None and one.profile_digest:
            yield row_of(manifest, one.role, one.version, profile)
