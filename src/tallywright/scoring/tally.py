"""One tally: decide, score into staged parts, verify, commit once, then the tally's row and the profile's row.

A kill at any instant leaves the old tally or the new one; running it again finishes what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Literal

from tallywright.errors import CommitConflictError, InputError, PackageError, StorageError
from tallywright.observability import log, point
from tallywright.profiles.profile import Profile
from tallywright.records import InputVersion, Manifest, ModelRef, Record
from tallywright.scoring.engine import (
    CommittingEngine,
    Engine,
    EngineChoice,
    Engines,
    Source,
    choose_engine,
    uses_own_io,
)
from tallywright.scoring.files import discard
from tallywright.scoring.inputs import FIRST, FORCED, LOST, reason_for
from tallywright.scoring.job import job_for, pinned_files, profile_again
from tallywright.scoring.preflight import check_leak, check_volume
from tallywright.scoring.profile_table import ProfileRow, profile_digest, read_profile, row_of, write_profile
from tallywright.scoring.scores_table import generation_in
from tallywright.scoring.sink import Landing, UncertainCommitError, commit_tally, parts_writer, rows_writer
from tallywright.scoring.tallies import Tally, record_tally, standing_tally
from tallywright.scoring.verify import part_path, verify_parts, verify_rows

if TYPE_CHECKING:
    from tallywright.data.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.kernel import PartManifest
    from tallywright.scoring.score_job import ScoreJob
    from tallywright.scoring.verify import Counted
    from tallywright.spec.environment import EngineSettings
    from tallywright.spec.model import ModelSpec

Progress = Callable[[int, int], None]
"""Told the rows scored so far and the rows of the day; called from any thread, one at a time."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One day to be scored: the pinned input, the models by role, their packages by digest."""

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

    @property
    def champion(self) -> ModelRef:
        """The model whose scores the table holds."""
        return self.models[0]

    @property
    def package(self) -> Package:
        """The champion's package."""
        package = self.packages.get(self.champion.digest)
        if package is None:
            raise PackageError(
                f"the package of version {self.champion.version} of {self.champion.name} is not at hand",
                expected=f"digest {self.champion.digest}",
                remedy="fetch it into the cache first",
            )
        return package


class TallyDecision(Record):
    """What a scoring run would do about a day, and why."""

    action: Literal["score", "no-op"]
    reason: str
    generation: int
    standing: Tally | None = None


class ScoreOutcome(Record):
    """What a scoring run did: `unchanged` when the same inputs were scored already, by whomever."""

    action: Literal["committed", "unchanged"]
    version: int
    manifest: Manifest


def decide(request: ScoreRequest) -> TallyDecision:
    """Compares the request with the tally that stands; changes nothing."""
    spec, lake, day = request.spec, request.lake, request.input.score_date
    if not lake.exists(spec.table("scores")):
        return TallyDecision(action="score", reason=FIRST, generation=1)
    table = lake.open(spec.table("scores"))
    generation = generation_in(table, spec, day)
    if not generation:
        return TallyDecision(action="score", reason=FIRST, generation=1)
    tally = standing_tally(lake, spec, day, table=table)
    if tally is None:
        return TallyDecision(action="score", reason=LOST, generation=generation + 1)
    reason = reason_for(tally.manifest, request.input.fingerprint, request.models, spec.scoring.identity())
    if not reason and not request.force:
        return TallyDecision(action="no-op", reason="same inputs", generation=generation, standing=tally)
    return TallyDecision(action="score", reason=reason or FORCED, generation=generation + 1, standing=tally)


def score_day(request: ScoreRequest, *, progress: Progress | None = None) -> ScoreOutcome:
    """Makes sure that the day's tally stands with the request's inputs, and its rows in the other tables.

    Raises:
        TallyError: Anything that refuses or fails; the scores table is then as it was.
    """
    decision = decide(request)
    if decision.standing is not None and decision.action == "no-op":
        return _finish(request, decision.standing, action="unchanged", profile=None)
    check_volume(request.lake, request.spec, request.input)
    leak = check_leak(request.spec, request.models, request.input.score_date)
    portions, choice = _plan(request)
    job = job_for(request.spec, request.lake, request.input, request.champion, request.package)
    point("staging")
    log.info("scoring %s with %s (%s)", request.input.score_date, choice.name, choice.why)
    work = _Work(request, decision, job, portions, choice.name, leak, _counter(progress, request.input.rows))
    with Engines.borrowed(request.engines, request.engine_settings) as engines:
        engine = engines.get(choice.name)
        if uses_own_io(engine, request.spec.scoring.io):
            assert isinstance(engine, CommittingEngine)  # noqa: S101 - uses_own_io asked
            landing, profile = _through_engine(work, engine)
        else:
            landing, profile = _through_parts(work, engine)
    point("committed")
    return _finish(
        request,
        landing.tally,
        action="committed" if landing.ours else "unchanged",
        profile=profile,
    )


def ensure_profile(request: ScoreRequest) -> ProfileRow:
    """The profile row of the tally that stands, written now if a crash kept it out of the table.

    Raises:
        InputError: The day was never scored.
        PackageError: The row must be counted again, and its model's package is not among the request's.
    """
    tally = standing_tally(request.lake, request.spec, request.input.score_date)
    if tally is None:
        raise InputError(
            f"{request.spec.name} has no tally for {request.input.score_date}", remedy="score the day first"
        )
    return _ensure_row(request, tally.manifest, None)


def profile_of(request: ScoreRequest, manifest: Manifest) -> Profile:
    """The profile of a tally: its row where there is one, else counted again from the pinned input."""
    row = read_profile(request.lake, request.spec, manifest)
    return row.profile if row else _rebuild(request, manifest)


def _plan(request: ScoreRequest) -> tuple[tuple[Portion, ...], EngineChoice]:
    portions, size = pinned_files(request.lake, request.input)
    settings = request.engine_settings
    return portions, choose_engine(request.engine, size, settings.auto if settings else ())


@dataclass(frozen=True, slots=True)
class _Work:
    """A day that is decided on and planned."""

    request: ScoreRequest
    decision: TallyDecision
    job: ScoreJob
    portions: tuple[Portion, ...]
    engine: str
    leak: bool
    advance: Callable[[int], None]

    def manifest(self, profile: Profile, key_digest: str) -> Manifest:
        """What the commit will say."""
        return _manifest(
            self.request, self.decision, profile, key_digest=key_digest, engine=self.engine, leak=self.leak
        )


def _through_parts(work: _Work, engine: Engine) -> tuple[Landing, Profile]:
    """Workers stage parts, and this process commits them."""
    parts = engine.score(work.job, work.portions, work.advance)
    try:
        point("staged")
        keys = verify_parts(work.job, work.request.input, work.portions, parts)
        point("verified")
    except BaseException:
        _discard(work.job, parts)
        raise
    profile = _sum_profiles(parts)
    return _land(work.request, work.job, work.manifest(profile, keys.hex), parts), profile


def _through_engine(work: _Work, engine: CommittingEngine) -> tuple[Landing, Profile]:
    """The engine keeps the rows, and commits them with its own table writer once they are verified."""
    pinned, lake = work.request.input, work.request.lake
    with engine.staged(work.job, Source(lake.uri(pinned.table), pinned.version), work.advance) as rows:
        point("staged")
        keys = verify_rows(work.job, pinned, rows)
        point("verified")
        profile = _sum_profiles(rows.counted)
        manifest = work.manifest(profile, keys.hex)
        return commit_tally(lake, work.request.spec, manifest, rows_writer(rows)), profile


def _land(request: ScoreRequest, job: ScoreJob, manifest: Manifest, parts: list[PartManifest]) -> Landing:
    """Commits; parts that certainly did not make it are deleted, doubtful ones are left for maintenance."""
    try:
        landing = commit_tally(request.lake, request.spec, manifest, parts_writer(job, parts))
    except UncertainCommitError:
        raise
    except (CommitConflictError, StorageError):
        _discard(job, parts)
        raise
    if not landing.ours:
        _discard(job, parts)
    return landing


def _discard(job: ScoreJob, parts: list[PartManifest]) -> None:
    discard((part_path(job, part) for part in parts), job.options)


def _finish(
    request: ScoreRequest, tally: Tally, *, action: Literal["committed", "unchanged"], profile: Profile | None
) -> ScoreOutcome:
    """What follows the commit, each step only where it is missing."""
    if record_tally(request.lake, request.spec, tally):
        log.debug("recorded generation %d of %s", tally.manifest.generation, tally.manifest.score_date)
    point("tallied")
    _ensure_row(request, tally.manifest, profile)
    point("profiled")
    return ScoreOutcome(action=action, version=tally.version, manifest=tally.manifest)


def _ensure_row(request: ScoreRequest, manifest: Manifest, profile: Profile | None) -> ProfileRow:
    row = read_profile(request.lake, request.spec, manifest)
    if row is None:
        if profile is None or profile_digest(profile) != manifest.profile_digest:
            profile = _rebuild(request, manifest)
        row = row_of(manifest, profile)
        write_profile(request.lake, request.spec, row)
    return row


def _rebuild(request: ScoreRequest, manifest: Manifest) -> Profile:
    package = request.packages.get(manifest.models[0].digest)
    if package is None:
        raise PackageError(
            f"the profile of {manifest.score_date} cannot be counted again without its model's package",
            expected=f"digest {manifest.models[0].digest}, version {manifest.models[0].version}",
            remedy="fetch it into the cache first",
        )
    job = job_for(request.spec, request.lake, manifest.input, manifest.models[0], package)
    portions, _ = pinned_files(request.lake, manifest.input)
    return profile_again(job, portions)


def _manifest(
    request: ScoreRequest, decision: TallyDecision, profile: Profile, *, key_digest: str, engine: str, leak: bool
) -> Manifest:
    return Manifest(
        model=request.spec.name,
        score_date=request.input.score_date,
        generation=decision.generation,
        reason=decision.reason,
        input=request.input,
        models=request.models,
        scoring_digest=request.spec.scoring.identity(),
        rows=request.input.rows,
        key_digest=key_digest,
        engine=engine,
        run_id=request.run_id,
        code_version=request.code_version,
        committed_at=datetime.now(UTC),
        profile_digest=profile_digest(profile),
        leak_allowed=leak,
    )


def _sum_profiles(parts: Sequence[PartManifest | Counted]) -> Profile:
    profiles = [Profile.from_json(part.profile_json) for part in parts]
    return sum(profiles[1:], start=profiles[0])


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Adds up what the threads report."""
    lock = Lock()
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        if progress is None:
            return
        with lock:
            done += rows
            progress(done, total)

    return advance
