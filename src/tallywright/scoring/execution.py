"""Executes a decided day: scores the rows, checks the canary's limits, verifies, commits the shadows and the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from tallywright.errors import CommitConflictError, StorageError
from tallywright.observability import failpoint, log
from tallywright.records import Manifest, Role, RoleTally
from tallywright.scoring.commit.profile_table import profile_digest
from tallywright.scoring.commit.shadows import commit_sound_shadows
from tallywright.scoring.commit.sink import CommitResult, UncertainCommitError, commit_tally
from tallywright.scoring.engines.base import PinnedDay, require_io
from tallywright.scoring.identity import DAMAGED, FORCED
from tallywright.scoring.job import SCORES, label_of
from tallywright.scoring.roles.limits import CanaryVerdict, check_fallback, judge_canary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.profiles.profile import Profile
    from tallywright.scoring.commit.sink import StagedOutput
    from tallywright.scoring.engines.base import Engine
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.prepare import ScoreRequest, TallyDecision
    from tallywright.scoring.roles.eligibility import ModelSet
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.scoring.worker.kernel import DaySums

Progress = Callable[[int, int], None]
"""Told the rows scored so far and the rows of the day; called from any thread, one at a time."""
_NO_CANARY = CanaryVerdict("", "", "")


@dataclass(frozen=True, slots=True)
class DayExecution:
    """The request, the decision and the models of a day that is being scored."""

    request: ScoreRequest
    model_set: ModelSet
    decision: TallyDecision
    splits: tuple[InputSplit, ...]
    engine: str
    leak: bool
    progress: Progress | None

    @property
    def advance(self) -> Callable[[int], None]:
        """Reports progress of one pass over the day."""
        return _counter(self.progress, self.request.input.rows)

    @property
    def repeated_verdict(self) -> CanaryVerdict:
        """The canary's verdict in the tally that this one repeats: equal inputs get the same rows for ever.

        So a day on which a canary was taken back by the rules of its time stays with the champion.
        """
        standing = self.decision.standing
        tried = any(ref.role is Role.CANARY for ref in self.request.models)
        if standing is None or not tried or self.decision.reason not in {FORCED, DAMAGED}:
            return _NO_CANARY
        canary = next((one for one in standing.manifest.roles if one.role is Role.CANARY), None)
        return CanaryVerdict(canary.note, "", canary.figures) if canary is not None else _NO_CANARY

    def day(self, job: ScoreJob) -> PinnedDay:
        """The day as an engine is given it."""
        request = self.request
        table = request.lake.uri(request.input.table)
        return PinnedDay(job, request.input, self.splits, table, request.spec.scoring.io, request.packages)

    def manifest(self, profile: Profile, key_digest: str) -> Manifest:
        """The manifest of the commit, without its roles."""
        return Manifest(
            model=self.request.spec.name,
            score_date=self.request.input.score_date,
            generation=self.decision.generation,
            reason=self.decision.reason,
            input=self.request.input,
            models=self.request.models,
            scoring_digest=self.request.spec.scoring.identity().current,
            rows=self.request.input.rows,
            key_digest=key_digest,
            engine=self.engine,
            run_id=self.request.run_id,
            code_version=self.request.code_version,
            committed_at=datetime.now(UTC),
            profile_digest=profile_digest(profile),
            leak_allowed=self.leak,
            scoring_json=self.request.spec.scoring.model_dump_json(),
            promotion_sequence=self.request.promotion_sequence,
            override=self.request.override,
            meaning=self.model_set.meaning,
            origins=self.request.origins,
        )


def execute(execution: DayExecution, engine: Engine, job: ScoreJob) -> tuple[CommitResult, DaySums]:
    """Scores, verifies and commits; a canary that breaks its limits costs a second pass without it.

    Raises:
        TallyError: What refuses the day or fails; the scores table is then as it was.
    """
    request = execution.request
    require_io(engine.name, request.spec.scoring.io)
    verdict = execution.repeated_verdict
    if not verdict.broken:
        with engine.staged(execution.day(job), execution.advance) as first:
            verdict = _judge_canary(request, first)
            if not verdict.broken:
                return _commit(execution, first, verdict)
            first.discard()
    log.warning("%s: the champion takes all rows, the canary broke its limits: %s", job.score_date, verdict.broken)
    with engine.staged(execution.day(job.without_canary()), execution.advance) as second:
        return _commit(execution, second, verdict)


def _judge_canary(request: ScoreRequest, day: StagedOutput) -> CanaryVerdict:
    """Judges the canary by its limits over the whole day; nothing is said where there is none."""
    if day.job.canary is None or request.spec.scoring.canary is None:
        return _NO_CANARY
    try:
        day.check_cover()
    except BaseException:
        day.discard()
        raise
    verdict = judge_canary(request.spec.scoring.canary.limits, day.sums.canary)
    if verdict.unsettled:
        log.warning("%s: the canary keeps its rows; of its limits, %s", day.job.score_date, verdict.unsettled)
    elif not verdict.broken:
        log.info("%s: the canary kept its limits: %s", day.job.score_date, verdict.figures)
    return verdict


def _commit(execution: DayExecution, day: StagedOutput, verdict: CanaryVerdict) -> tuple[CommitResult, DaySums]:
    """Verifies the day; commits its shadows, then its scores."""
    request, sums = execution.request, day.sums
    try:
        failpoint("staged")
        if day.job.covers and request.spec.scoring.fallback is not None:
            check_fallback(request.spec.scoring.fallback, sums.served, day.job.score_date)
        keys = day.verify()
        failpoint("verified")
    except BaseException:
        day.discard()
        raise
    manifest = execution.manifest(sums.profile, keys.hex)
    shadows = commit_sound_shadows(request.lake, request.spec, day, manifest)
    failpoint("shadowed")
    roles = (*_served(request, sums, verdict), *shadows, *execution.model_set.absent)
    return _commit_scores(request, day, manifest.model_copy(update={"roles": roles, "files": day.files()})), sums


def _served(request: ScoreRequest, sums: DaySums, verdict: CanaryVerdict) -> Iterator[RoleTally]:
    """The tally of each role in the scores table."""
    primary = label_of(request.champion.role, request.champion.version)
    served = sums.served or {primary: request.input.rows}
    for ref in request.models:
        label = label_of(ref.role, ref.version)
        if ref.role is Role.SHADOW:
            continue
        profile = sums.profile if label == primary else sums.profiles.get(label)
        yield RoleTally(
            role=ref.role,
            version=ref.version,
            rows=served.get(label, 0),
            profile_digest=profile_digest(profile) if profile is not None and profile.rows else "",
            note=verdict.broken if ref.role is Role.CANARY else "",
            figures=verdict.figures if ref.role is Role.CANARY else "",
        )


def _commit_scores(request: ScoreRequest, day: StagedOutput, manifest: Manifest) -> CommitResult:
    """Commits the scores; on failure their parts are deleted, unless the commit may still stand."""
    try:
        result = commit_tally(request.lake, request.spec, manifest, day.writer(), withdrawn=request.withdrawn_since)
    except UncertainCommitError:
        raise
    except (CommitConflictError, StorageError):
        day.discard(SCORES)
        raise
    if not result.ours:
        day.discard(SCORES)
    return result


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
