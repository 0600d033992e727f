"""One tally: decide, score into staged parts, verify, commit once, then the tally's row and the profile's row.

A kill at any instant leaves the old tally or the new one; running it again finishes what is missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tallywright.observability import failpoint, log
from tallywright.scoring.commit.manifests import Tally, latest_tally, record_tally
from tallywright.scoring.commit.scores_table import generation_in
from tallywright.scoring.engines.registry import EngineChoice, Engines, choose_engine
from tallywright.scoring.execution import DayExecution, execute
from tallywright.scoring.identity import FIRST, FORCED, LOST, reason_for
from tallywright.scoring.preflight import check_leak, check_volume
from tallywright.scoring.prepare import job_for, pinned_files
from tallywright.scoring.profile_rows import ensure_rows
from tallywright.scoring.request import ScoreOutcome, ScoreRequest, TallyDecision
from tallywright.scoring.roles.eligibility import assemble

if TYPE_CHECKING:
    from tallywright.scoring.execution import Progress
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.results import DaySums


def decide(request: ScoreRequest) -> TallyDecision:
    """Compares the request with the tally that stands; changes nothing."""
    spec, lake, day = request.spec, request.lake, request.input.score_date
    table = lake.find(spec.table("scores"))
    generation = generation_in(table, spec, day) if table is not None else 0
    if not generation:
        return TallyDecision(action="score", reason=FIRST, generation=1)
    tally = latest_tally(lake, spec, day, table=table)
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
    model_set = assemble(request.candidates)
    request = replace(request, models=model_set.models)
    decision = decide(request)
    if decision.standing is not None and decision.action == "no-op":
        return _finish(request, decision.standing, action="unchanged", sums=None)
    check_volume(request.lake, request.spec, request.input)
    leak = check_leak(request.spec, request.models, request.input.score_date)
    splits, choice = _plan(request)
    job = job_for(request.spec, request.lake, request.input, model_set)
    failpoint("staging")
    log.info("scoring %s with %s (%s)", request.input.score_date, choice.name, choice.why)
    execution = DayExecution(request, model_set, decision, splits, choice.name, leak, progress)
    with Engines.borrowed(request.engines, request.engine_settings) as engines:
        result, sums = execute(execution, engines.get(choice.name), job)
    failpoint("committed")
    return _finish(
        request,
        result.tally,
        action="committed" if result.ours else "unchanged",
        sums=sums,
    )


def _plan(request: ScoreRequest) -> tuple[tuple[InputSplit, ...], EngineChoice]:
    splits, size = pinned_files(request.lake, request.input)
    settings = request.engine_settings
    return splits, choose_engine(request.engine, size, settings.auto if settings else ())


def _finish(
    request: ScoreRequest, tally: Tally, *, action: Literal["committed", "unchanged"], sums: DaySums | None
) -> ScoreOutcome:
    """What follows the commit, each step only where it is missing."""
    if record_tally(request.lake, request.spec, tally):
        log.debug("recorded generation %d of %s", tally.manifest.generation, tally.manifest.score_date)
    failpoint("tallied")
    row = ensure_rows(request.lake, request.spec, tally.manifest, request.package_of, sums)
    failpoint("profiled")
    return ScoreOutcome(action=action, version=tally.version, manifest=tally.manifest, profile_row=row)
