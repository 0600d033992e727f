"""One tally: decide, score into staged parts, verify, commit once, then the tally's row and the profile's row.

A kill at any instant leaves the old tally or the new one; running it again finishes what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from tallywright.errors import InputError
from tallywright.observability import log, point
from tallywright.records import InputVersion, Manifest, ModelRef, Record
from tallywright.scoring.day_profiles import count_again, ensure_rows
from tallywright.scoring.engine import EngineChoice, Engines, choose_engine
from tallywright.scoring.ensemble import assemble, not_at_hand
from tallywright.scoring.inputs import FIRST, FORCED, LOST, reason_for
from tallywright.scoring.job import job_for, pinned_files
from tallywright.scoring.planned import PlannedDay, score_planned
from tallywright.scoring.preflight import check_leak, check_volume
from tallywright.scoring.profile_table import ProfileRow, read_profile
from tallywright.scoring.scores_table import generation_in
from tallywright.scoring.tallies import Tally, record_tally, standing_tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.data.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.profiles.profile import Profile
    from tallywright.scoring.fragments import Portion
    from tallywright.scoring.planned import Progress
    from tallywright.scoring.role_counts import DaySums
    from tallywright.spec.environment import EngineSettings
    from tallywright.spec.model import ModelSpec


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

    @property
    def champion(self) -> ModelRef:
        """The model whose scores the table holds."""
        return self.models[0]

    @property
    def package(self) -> Package:
        """The champion's package."""
        package = self.packages.get(self.champion.digest)
        if package is None:
            raise not_at_hand(self.champion, self.missing.get(self.champion.digest, ""))
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
    ensemble = assemble(request)
    request = replace(request, models=ensemble.models)
    decision = decide(request)
    if decision.standing is not None and decision.action == "no-op":
        return _finish(request, decision.standing, action="unchanged", sums=None)
    check_volume(request.lake, request.spec, request.input)
    leak = check_leak(request.spec, request.models, request.input.score_date)
    portions, choice = _plan(request)
    job = job_for(request.spec, request.lake, request.input, ensemble)
    point("staging")
    log.info("scoring %s with %s (%s)", request.input.score_date, choice.name, choice.why)
    planned = PlannedDay(request, ensemble, decision, portions, choice.name, leak, progress)
    with Engines.borrowed(request.engines, request.engine_settings) as engines:
        landing, sums = score_planned(planned, engines.get(choice.name), job)
    point("committed")
    return _finish(
        request,
        landing.tally,
        action="committed" if landing.ours else "unchanged",
        sums=sums,
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
    return ensure_rows(request, tally.manifest, None)


def profile_of(request: ScoreRequest, manifest: Manifest) -> Profile:
    """The profile of a tally: its row where there is one, else counted again from the pinned input."""
    row = read_profile(request.lake, request.spec, manifest)
    return row.profile if row else count_again(request, manifest).profile


def _plan(request: ScoreRequest) -> tuple[tuple[Portion, ...], EngineChoice]:
    portions, size = pinned_files(request.lake, request.input)
    settings = request.engine_settings
    return portions, choose_engine(request.engine, size, settings.auto if settings else ())


def _finish(
    request: ScoreRequest, tally: Tally, *, action: Literal["committed", "unchanged"], sums: DaySums | None
) -> ScoreOutcome:
    """What follows the commit, each step only where it is missing."""
    if record_tally(request.lake, request.spec, tally):
        log.debug("recorded generation %d of %s", tally.manifest.generation, tally.manifest.score_date)
    point("tallied")
    ensure_rows(request, tally.manifest, sums)
    point("profiled")
    return ScoreOutcome(action=action, version=tally.version, manifest=tally.manifest)
